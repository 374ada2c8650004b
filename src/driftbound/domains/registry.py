"""Registry of fields: finds the domain a recipe names among the installed entry points."""

from difflib import get_close_matches
from importlib.metadata import entry_points

from driftbound.config import DomainConfig
from driftbound.errors import ConfigError
from driftbound.protocols import Domain

GROUP = "driftbound.domains"
"""Entry-point group. A plug is a callable ``(config: DomainConfig, seed: int) -> Domain``."""


def domain_names() -> list[str]:
    """Names of the installed domains, sorted."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def load_domain(config: DomainConfig, seed: int) -> Domain:
    """The domain that ``config`` names, made for ``seed``.

    Raises ``ConfigError`` when no such domain is installed, or when what is installed under the
    name cannot be imported or is no ``Domain``.
    """
    found = [point for point in entry_points(group=GROUP) if point.name == config.name]
    if not found:
        names = domain_names()
        near = get_close_matches(config.name, names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"installed: {', '.join(names) or 'none'}."
        raise ConfigError(f"domain.name: no domain {config.name!r} is installed; {hint}")
    try:
        plug = found[0].load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"domain.name: {config.name!r} ({found[0].value}) cannot be imported ({error}). "
            "Install what it needs, or name another domain."
        ) from error
    domain = plug(config, seed)
    if not isinstance(domain, Domain):
        raise ConfigError(
            f"domain.name: {found[0].value} does not implement driftbound.protocols.Domain. "
            "Ask its author, or name another domain."
        )
    return domain
