"""Where one model is served over HTTP."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelAddress:
    """One model at one address. `base_url` ends before `/chat/completions` and its like."""

    name: str
    provider: str
    base_url: str
    api_key: str | None = field(default=None, repr=False)
    upstream_name: str | None = None  # what the provider calls the model, if not `name`

    @property
    def model(self) -> str:
        """What the provider calls the model."""
        return self.upstream_name or self.name

    def url(self, path: str) -> str:
        """Return the whole address of `path`, such as `chat/completions`."""
        return f"{self.base_url.rstrip('/')}/{path}"

    def headers(self, accept: str) -> dict[str, str]:
        """Return what every call sends that wants an answer of the types in `accept`."""
        headers = {"content-type": "application/json", "accept": accept}
        if self.api_key:
            headers["authorization"] = f"Bearer {self.api_key}"
        return headers
