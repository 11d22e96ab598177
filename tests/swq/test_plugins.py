"""Entry points of other packages: what is found, what is refused, and the hash of their source."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from swq.errors import UserError
from swq.losses import TERMS, Loss, terms
from swq.methods.base import Method
from swq.methods.plugin import plugin_methods
from swq.models import families, family_of
from swq.plugins import METHODS, added, plugins
from tests.support.example_package import example_files

Install = Callable[[str, str, str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Return a function that installs a package of one file, with the text of its entry points."""
    before = set(sys.modules)

    def forget() -> None:
        for cached in (plugins, terms):
            cached.cache_clear()

    def write(package: str, source: str, points: str) -> None:
        info = tmp_path / f"{package}-1.dist-info"
        info.mkdir(exist_ok=True)
        (tmp_path / package).mkdir(exist_ok=True)
        (tmp_path / package / "__init__.py").write_text(source)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1\n")
        (info / "entry_points.txt").write_text(points)
        forget()

    monkeypatch.syspath_prepend(str(tmp_path))
    yield write
    forget()
    for name in set(sys.modules) - before:
        if name.startswith(("mine", "other")):
            del sys.modules[name]


def test_methods_losses_and_families_are_found(install: Install) -> None:
    files = example_files()
    source = "\n".join(files[f"mine/{name}.py"] for name in ("methods", "losses", "families"))
    install(
        "mine",
        source,
        "[swq.methods]\nnarrow = mine:Narrow\n[swq.losses]\nhuber = mine:huber\n[swq.families]\nx = mine:STABLELM\n",
    )
    (name,) = plugin_methods()
    assert name == "narrow" and issubclass(plugin_methods()[name], Method)
    assert list(terms()) == [*TERMS, "huber"]
    assert Loss({"huber": 0.1, "mse": 0.9}).active == ("mse", "huber"), "the built-in ones come first"
    found = family_of("stablelm")
    assert found is not None and found is families()[-1] and "self_attn.q_proj" in found.linears


def test_nothing_is_added_where_nothing_is_installed() -> None:
    assert plugin_methods() == {} and family_of("stablelm") is None and terms() == TERMS


def test_the_hash_is_of_the_whole_package(install: Install, tmp_path: Path) -> None:
    points = "[swq.losses]\nhuber = mine:huber\n"
    install("mine", "def huber(loss, outputs, draw): ...\n", points)
    first = plugins("swq.losses")["huber"].sha256
    (tmp_path / "mine/beside.py").write_text("x = 1\n")
    plugins.cache_clear()
    second = plugins("swq.losses")["huber"].sha256
    (tmp_path / "mine/beside.py").rename(tmp_path / "mine/moved.py")
    plugins.cache_clear()
    assert len({first, second, plugins("swq.losses")["huber"].sha256}) == 3


def test_a_package_without_init_and_a_module_have_a_hash_too(install: Install, tmp_path: Path) -> None:
    install("mine", "", "[swq.losses]\nhuber = mine.losses:huber\n")
    (tmp_path / "mine/__init__.py").unlink()
    (tmp_path / "mine/losses.py").write_text("def huber(loss, outputs, draw): ...\n")
    (tmp_path / "other.py").write_text("def other(loss, outputs, draw): ...\n")
    install("other", "", "[swq.losses]\nalso = other:other\n")
    (tmp_path / "other/__init__.py").unlink()  # the module is meant
    (tmp_path / "other").rmdir()
    found = plugins("swq.losses")
    assert found["huber"].sha256 != found["also"].sha256 and found["also"].package == "other"


@pytest.mark.parametrize(
    ("source", "name", "message"),
    [
        ("raise ValueError('no')", "m", r"plug-in m = mine:Mine cannot be imported \(ValueError: no\)"),
        ("Mine = 3", "m", "plug-in m of package mine is no Method"),
        ("class Mine: ...", "m", "plug-in m of package mine is no Method"),
        ("from swq.methods.rtn import RTN as Mine", "rtn", "plug-in rtn of package mine has a name of this project's"),
    ],
)
def test_what_cannot_be_used_is_refused(install: Install, source: str, name: str, message: str) -> None:
    install("mine", source, f"[swq.methods]\n{name} = mine:Mine\n")
    with pytest.raises(UserError, match=message):
        plugin_methods()


def test_two_packages_cannot_share_a_name(install: Install) -> None:
    source = "from swq.methods.rtn import RTN as Mine"
    install("mine", source, "[swq.methods]\nm = mine:Mine\n")
    install("other", source, "[swq.methods]\nm = other:Mine\n")
    with pytest.raises(UserError, match=r"two installed packages add .m. to swq\.methods"):
        added(METHODS, Method, ())
