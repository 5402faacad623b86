from pathlib import Path

import pytest

from app.llm.catalogue import ModelCatalogue, ModelUnknown, ModelUnusable
from app.llm.embedded_embedding import EmbeddedEmbeddingModel
from app.llm.entries import ModelEntry, ModelsFileInvalid, load_models_file
from app.llm.factory import ModelFactory, ModelRoomConfig
from app.llm.tokens import ApproximateTokenCounter
from app.net.http import HttpClient

FILE = """
[[model]]
name = "big"
provider = "OpenAI"
kind = "chat"
base_url = "https://one.example/v1"
api_key_env = "ONE_KEY"
context = 128000
aliases = ["assistant"]
price = {input = 1.5, output = 6}
default = true
upstreams = [{base_url = "https://two.example/v1", api_key = "two", upstream_name = "big-2", first_token_s = 5}]

[[model]]
name = "big"
provider = "elsewhere"
kind = "chat"
base_url = "http://127.0.0.1:8000/v1"
api_key = ""

[[model]]
name = "@cf/odd"
provider = "cloud"
kind = "chat"
base_url = "https://cloud.example"

[[model]]
name = "vectors"
provider = "OpenAI"
kind = "embedding"
base_url = "https://one.example/v1"
api_key_env = "NO_SUCH_KEY"
dimensions = 1536

[[model]]
name = "ranks"
provider = "TEI"
kind = "rerank"
base_url = "http://tei"
api_key = ""
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "models.toml"
    path.write_text(text)
    return path


@pytest.fixture
def entries(tmp_path: Path) -> list[ModelEntry]:
    return load_models_file(written(tmp_path, FILE), {"ONE_KEY": "one"})


@pytest.fixture
def catalogue(entries: list[ModelEntry], tmp_path: Path, http: HttpClient) -> ModelCatalogue:
    return ModelFactory(ModelRoomConfig(run_dir=tmp_path), http, ApproximateTokenCounter()).catalogue(entries)


def test_the_file_is_read_with_keys_from_the_environment(entries: list[ModelEntry]) -> None:
    big, local, odd, vectors, _ = entries

    assert [each.api_key for each in big.addresses] == ["one", "two"]
    assert (big.context, big.aliases, big.price and big.price.output) == (128_000, ("assistant",), 6.0)
    assert big.upstreams[0].first_token_s == 5
    assert (local.is_usable, odd.is_usable, vectors.is_usable) == (True, False, False)


def test_keys_are_not_shown_in_an_entrys_repr(entries: list[ModelEntry]) -> None:
    assert "'one'" not in repr(entries)
    assert "'two'" not in repr(entries)


@pytest.mark.parametrize(
    ("name", "wire_name"),
    [
        ("big", "big@OpenAI"),
        ("assistant", "big@OpenAI"),
        (None, "big@OpenAI"),
        ("big@elsewhere", "big@elsewhere"),
        ("assistant@openai", "big@OpenAI"),
        ("smollm2-135m-instruct@Builtin", "smollm2-135m-instruct@builtin"),
        ("smollm2-135m-instruct", "smollm2-135m-instruct@builtin"),
    ],
)
def test_a_wire_name_finds_its_model(catalogue: ModelCatalogue, name: str | None, wire_name: str) -> None:
    model = catalogue.chat(name)

    assert f"{model.name}@{model.provider}" == wire_name
    assert catalogue.chat(name) is model


@pytest.mark.parametrize("name", ["nothing", "big@nobody", "@", "big@", "@OpenAI", "vectors"])
def test_a_name_nobody_configured_is_unknown(catalogue: ModelCatalogue, name: str) -> None:
    with pytest.raises(ModelUnknown, match=f"Unsupported model: <{name}>"):
        catalogue.chat(name)


def test_a_model_without_a_key_is_known_but_not_usable(catalogue: ModelCatalogue) -> None:
    with pytest.raises(ModelUnusable, match="Unauthorized model: <vectors@OpenAI>"):
        catalogue.embedding("vectors@OpenAI")
    with pytest.raises(ModelUnusable):
        catalogue.chat("@cf/odd@cloud")
    with pytest.raises(ModelUnusable):
        catalogue.chat("@cf/odd")


def test_without_a_usable_configured_model_the_embedded_one_is_the_default(catalogue: ModelCatalogue) -> None:
    assert isinstance(catalogue.embedding(), EmbeddedEmbeddingModel)
    assert catalogue.rerank().name == "ranks"
    with pytest.raises(ModelUnknown):
        catalogue.vision()


def test_the_factory_puts_every_address_behind_one_model(catalogue: ModelCatalogue) -> None:
    assert catalogue.chat("big").context_tokens == 128_000


MODEL = '[[model]]\nname = "m"\nprovider = "p"\nkind = "chat"\nbase_url = "http://x"\n'


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("model = 3", "`model` must be written as"),
        ("[[models]]", "unknown key `models`"),
        ("[[model]\n", "not valid TOML"),
        ('[[model]]\nname = "m"', r"\[\[model\]\] number 1 \(m\): `provider` is missing"),
        (MODEL + MODEL.replace('"m"', '"n"') + "contxt = 3", r"number 2 \(n\): `contxt` is not a known key"),
        (MODEL + "context = -1", "`context` must be a whole number above 0"),
        (MODEL + "context = true", "`context` must be a whole number above 0"),
        (MODEL + 'default = "yes"', "`default` must be true or false"),
        (MODEL + 'aliases = "a"', "`aliases` must be a list"),
        (MODEL + 'api_key = "a"\napi_key_env = "B"', "`api_key_env` cannot stand beside"),
        (MODEL + 'upstreams = [{api_key = "k"}]', r"upstreams\[0\]: `base_url` is missing"),
        (MODEL + "price = {inputs = 3}", "price: `inputs` is not a known key"),
        (MODEL.replace("http://x", "x"), "`base_url` must start with"),
        (MODEL.replace('base_url = "http://x"\n', ""), "`base_url` is missing"),
        (MODEL.replace('"chat"', '"talk"'), "`kind` must be one of chat, embedding, rerank, vision"),
        (MODEL.replace('"chat"', '"embedding"'), "`dimensions` is missing"),
        (MODEL + MODEL, "m@p is there twice"),
        (MODEL + "default = true\n" + MODEL.replace('"m"', '"n"') + "default = true", "`default` is set on another"),
    ],
)
def test_a_fault_in_the_file_names_file_entry_and_key(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(ModelsFileInvalid, match=complaint) as caught:
        load_models_file(written(tmp_path, text), {})

    assert "models.toml" in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelsFileInvalid, match=r"none\.toml: cannot be read"):
        load_models_file(tmp_path / "none.toml")
