"""Makes `documents/10-prices-and-torque.pdf` from the text below: `python examples/make_pdf.py [FILE]`.

The bytes depend on nothing but this file and reportlab, so that the committed PDF can be checked against it.
"""

import sys
from pathlib import Path
from typing import Any

from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import getSampleStyleSheet
from reportlab.lib.units import cm
from reportlab.platypus import PageBreak, Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle

PDF = Path(__file__).resolve().parent / "documents" / "10-prices-and-torque.pdf"

Row = tuple[str, ...]
TITLE = "Prices, service intervals and torque values"

PRICES: tuple[Row, ...] = (
    ("Work", "With our help", "What is in the price"),
    ("Gear adjustment", "8 euros", "cable ends, oil"),
    ("New brake pads, one wheel", "10 euros", "work only; pads from 7 euros"),
    ("Bleeding a hydraulic brake", "18 euros", "fluid, disposal"),
    ("Wheel truing", "12 euros", "up to two spokes"),
    ("Building a wheel", "45 euros", "work only; spokes 0.80 euros each"),
    ("Headset replacement", "22 euros", "pressing tools, grease"),
    ("Bottom bracket replacement", "20 euros", "facing if needed"),
    ("Spring check, 14 points", "25 euros", "small parts up to 5 euros"),
)

INTERVALS: tuple[Row, ...] = (
    ("Part", "City use", "Winter or gravel"),
    ("Chain, clean and oil", "every 300 km", "every 150 km"),
    ("Chain, measure", "every 1,000 km", "every 500 km"),
    ("Brake pads, look", "every 4 weeks", "every 2 weeks"),
    ("Brake fluid, DOT", "every 12 months", "every 12 months"),
    ("Brake fluid, mineral oil", "every 24 months", "every 18 months"),
    ("Suspension fork, lower legs", "every 50 hours", "every 30 hours"),
    ("Hub gear oil", "every 5,000 km", "every 3,000 km"),
    ("Headset and hubs, grease", "every 24 months", "every 12 months"),
)

TORQUE: tuple[Row, ...] = (
    ("Bolt", "Torque", "Remark"),
    ("Stem face plate", "5 Nm", "crosswise, even gap"),
    ("Stem on steerer", "6 Nm", "after the headset is set"),
    ("Seat post clamp, aluminium", "6 Nm", "carbon post: 5 Nm and paste"),
    ("Saddle rail clamp", "12 Nm", "two bolts: 9 Nm each"),
    ("Crank bolt, square taper", "40 Nm", "check again after 100 km"),
    ("Crank pinch bolts", "13 Nm", "in turns, left and right"),
    ("Pedals", "35 Nm", "left pedal: left-hand thread"),
    ("Cassette lock ring", "40 Nm", "it clicks: that is right"),
    ("Disc rotor, six bolts", "6.2 Nm", "thread locker, crosswise"),
    ("Disc rotor, centre lock", "40 Nm", ""),
    ("Brake caliper on frame", "6 Nm", "squeeze the lever meanwhile"),
    ("Rear derailleur on hanger", "9 Nm", ""),
    ("Axle nuts, rear hub gear", "35 Nm", "washers the right way round"),
)

PAGES: tuple[tuple[tuple[str, str | tuple[Row, ...]], ...], ...] = (
    (
        ("Heading1", TITLE),
        (
            "BodyText",
            "Spindle Street community workshop, Hollbruck. Valid from 1 February 2026 until replaced. Prices are for "
            "members; others pay 5 euros more for each line. Parts are sold at cost price plus ten percent.",
        ),
        ("Heading2", "1. Prices for work with help"),
        (
            "BodyText",
            "You work, a volunteer stands beside you and does the step you do not want to do yourself. The price is "
            "for one bicycle and covers up to 60 minutes of help; each further quarter of an hour costs 4 euros.",
        ),
        ("table", PRICES),
        (
            "BodyText",
            "The spring check runs from 1 March to 30 April and has to be booked. Its 14 points are on the card that "
            "you take home. If the check finds damage to frame or fork, the work ends there and the 25 euros are "
            "returned.",
        ),
        (
            "BodyText",
            "Payment is due on the day. Whoever cannot pay now may pay in three parts, without interest and without a"
            " form: a note at the counter is enough. The person to talk to is the treasurer, Benedikt Oduya.",
        ),
    ),
    (
        ("Heading2", "2. Service intervals"),
        (
            "BodyText",
            "The intervals are for a bicycle that is used all year and stands under a roof. A bicycle that stands in "
            "the rain needs everything twice as often. When in doubt, look sooner: looking costs nothing.",
        ),
        ("table", INTERVALS),
        (
            "BodyText",
            "DOT fluid draws water from the air and has to be replaced every 12 months whether the bicycle was ridden"
            " or not. Mineral oil does not, which is why it may stay longer. Never fill one into a brake made for the"
            " other.",
        ),
        ("Heading2", "3. How to use a torque wrench"),
        (
            "BodyText",
            "Clean the thread. Grease it unless the table says thread locker or paste. Set the wrench, pull slowly "
            "and stop at the first click: a second click is more torque than the first. Values are for clean, greased"
            " steel bolts in aluminium; what the maker has printed on the part always wins over this table.",
        ),
        (
            "BodyText",
            "A torque wrench is not for loosening. Set it back to its lowest value when you are done, and put it into"
            " the red box if it fell. Every wrench is checked once in 12 months.",
        ),
    ),
    (
        ("Heading2", "4. Torque values"),
        ("table", TORQUE),
        (
            "BodyText",
            "Carbon parts: use assembly paste, and begin with two thirds of the value. If the part still turns by "
            "hand, add half a newton metre at a time and never go beyond the printed limit.",
        ),
        ("Heading2", "5. If a bolt breaks"),
        (
            "BodyText",
            "Stop and leave the rest of the bolt alone. Extractors of 3 to 8 millimetres are in drawer 14. The first "
            "try is made by whoever broke it, with a volunteer; the second by Tomasz Brandt, on Tuesdays from 17:00. "
            "A helicoil set for M5 and M6 is in the welding corner. There is no charge for broken bolts; there is a "
            "jar.",
        ),
    ),
)


def make(path: Path) -> None:
    """Write the PDF to `path`."""
    styles = getSampleStyleSheet()
    story: list[Any] = []
    for number, page in enumerate(PAGES):
        if number:
            story.append(PageBreak())
        for kind, content in page:
            if isinstance(content, str):
                story.append(Paragraph(content, styles[kind]))
            else:
                story.append(_table(content))
            story.append(Spacer(1, 0.25 * cm))
    SimpleDocTemplate(
        str(path), pagesize=A4, title=TITLE, author="Spindle Street e.V.", invariant=1, leftMargin=2.2 * cm
    ).build(story)


def _table(rows: tuple[Row, ...]) -> Table:
    table = Table([list(row) for row in rows], colWidths=[6 * cm, 4 * cm, 6 * cm], repeatRows=1)
    table.setStyle(
        TableStyle(
            [
                ("GRID", (0, 0), (-1, -1), 0.5, colors.grey),
                ("BACKGROUND", (0, 0), (-1, 0), colors.whitesmoke),
                ("FONTNAME", (0, 0), (-1, 0), "Helvetica-Bold"),
            ]
        )
    )
    return table


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else PDF)
