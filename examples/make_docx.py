"""Makes `documents/09-volunteer-handbook.docx` from the text below: `python examples/make_docx.py [FILE]`."""

import sys
from datetime import UTC, datetime
from pathlib import Path

from docx import Document

DOCX = Path(__file__).resolve().parent / "documents" / "09-volunteer-handbook.docx"

TITLE = "Volunteer handbook"

SECTIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "Thank you",
        (
            "Spindle Street is run by about 45 volunteers and one part-time coordinator, Dele Marchetti. This "
            "handbook says what you can expect from us and what we ask of you. It was written in November 2025 and is"
            " read again every autumn.",
        ),
    ),
    (
        "How to begin",
        (
            "Come to the meeting for new people on the third Tuesday of the month at 19:00. After that you do three "
            "shadow shifts: one at the counter, one at the stands, one in the tool library. Then you talk with Dele "
            "for half an hour and decide together whether and where you want to go on.",
            "You need not be able to repair everything. We need people who listen, who sort screws, who write posters"
            " and who speak languages. Whoever wants to learn repairing is paired with a mentor for the first two "
            "months.",
        ),
    ),
    (
        "Shifts",
        (
            "A shift lasts four hours and begins 30 minutes before the doors open. Two shifts a month are the least "
            "we ask for, because keys, tools and habits change. Shifts are entered in the calendar until the 20th for"
            " the month that follows.",
            "If you cannot come, find somebody to swap with, and write it into the calendar. If you find nobody, tell"
            " the coordinator at least 24 hours before. With fewer than three people on a shift the machines stay "
            "switched off, with fewer than two the workshop stays closed.",
        ),
    ),
    (
        "Money",
        (
            "Volunteers are not paid. We refund what you spend on the way, up to 8 euros a shift, and food on shifts "
            "that are longer than six hours, up to 10 euros. Hand in receipts within 60 days. The membership fee is "
            "waived for every year in which you did at least 18 shifts.",
            "Spending up to 40 euros on small parts needs the word of one keyholder; up to 250 euros that of the "
            "treasurer; above that the monthly meeting decides.",
        ),
    ),
    (
        "Courses for volunteers",
        (
            "First aid is refreshed every two years and paid for by the association. The machine card takes two "
            "hours. The frame preparation course, which is needed to use and to lend the facing tools, takes place on"
            " the second Sunday of February, June and October, from 10:00 to 15:00, and has five places. Conflict "
            "training is offered once a year and is compulsory for keyholders.",
        ),
    ),
    (
        "Opening and closing",
        (
            "Opening: alarm off, lights, compressor valve open, sign-in tablet on, cash box counted in pairs (it "
            "always begins with 120 euros), first-aid boxes looked at, a look at the battery shelf in the porch.",
            "Closing: machines off at the wall, compressor drained, rags into the metal bin and the bin emptied, "
            "windows, cash counted in pairs and written down, tablet off, alarm on. The last person out sends the "
            "word 'closed' to the keyholders' group. There are seven keyholders; the spare key is with the bakery at "
            "number 21.",
        ),
    ),
    (
        "When it becomes difficult",
        (
            "You never have to deal with a difficult visitor alone. Fetch a second person, speak quietly, offer the "
            "yard as a place to talk. You may end any help at any time. If you feel threatened, call the police first"
            " and the coordinator second. Whatever happened, it is talked about after closing time, on the same day.",
            "If the difficulty is with one of us, two people are there for it who are not on the board: Leila Haddad "
            "and Piotr Zielonka. What you tell them stays with them unless you say otherwise.",
        ),
    ),
    (
        "Leaving",
        (
            "Nobody stays for ever. Tell us a month before, if you can, hand in your key and take the cake. After a "
            "year of service we write a reference that says what you really did.",
        ),
    ),
)

ROLES: tuple[tuple[str, str, str], ...] = (
    ("Role", "People on a shift", "What is needed"),
    ("Counter", "1", "calm, mental arithmetic"),
    ("Stands", "2 to 4", "mentor time done, machine card welcome"),
    ("Tool library", "1", "an introduction by Yuki Arisawa"),
    ("Refurbishing", "2", "frame preparation course within a year"),
    ("Cargo bikes", "1, Saturdays", "a ride on all three bicycles"),
)


def make(path: Path) -> None:
    """Write the document to `path`."""
    document = Document()
    document.core_properties.title = TITLE
    document.core_properties.author = "Spindle Street e.V."
    document.core_properties.created = document.core_properties.modified = datetime(2025, 11, 20, tzinfo=UTC)
    document.add_heading(TITLE, level=1)
    for heading, paragraphs in SECTIONS:
        document.add_heading(heading, level=2)
        for paragraph in paragraphs:
            document.add_paragraph(paragraph)
    document.add_heading("Roles", level=2)
    table = document.add_table(rows=0, cols=len(ROLES[0]))
    for row in ROLES:
        for cell, text in zip(table.add_row().cells, row, strict=True):
            cell.text = text
    document.save(str(path))


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else DOCX)
