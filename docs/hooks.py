"""Pages that mkdocs makes from the code: a page per plugin, the list of modules, source files that are linked, the changelog."""

from __future__ import annotations

import ast
import posixpath
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from accel import values  # noqa: E402
from accel.schema import plugin_registry as registry  # noqa: E402

LINK = re.compile(r"(?<!!)\]\(([^)#\s]+)(#[^)\s]*)?\)")
FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
SECTIONS = ("Helps", "Hurts", "Costs", "Source", "Exact")
COPIED = {"changelog.md": "CHANGELOG.md", "internals/contributing.md": "CONTRIBUTING.md"}
"""Pages that are files of the root: page, file."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Let the code of this checkout be found: mkdocs has put back the search path that stood before this file was run."""
    sys.path.insert(0, str(ROOT))
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    from mkdocs.structure.files import File  # the suite makes the pages without mkdocs

    pages = {f"plugins/{name}.md": plugin_page(name) for name in registry.names()}
    pages |= {f"plugins/{path.stem}.md": bundle_page(path) for path in bundle_files()}
    pages |= {page: (ROOT / file).read_text(encoding="utf-8") for page, file in COPIED.items()}
    pages["internals/modules.md"] = modules_page()
    written = {file.src_uri: file.content_string for file in files.documentation_pages()}
    targets = {target for page, text in {**written, **pages}.items() for target in outside(page, text)}
    pages |= {source_uri(target): source_page(target) for target in sorted(targets)}
    for uri, text in pages.items():
        files.append(File.generated(config, uri, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links to files outside docs/ into links to their source pages."""
    here = page.file.src_uri

    def turned(match: re.Match[str]) -> str:
        target = resolve(here, match[1])
        if target is None:
            return match[0]
        return f"]({posixpath.relpath(source_uri(target), posixpath.dirname(here) or '.')}{match[2] or ''})"

    return "".join(text if fenced else LINK.sub(turned, text) for fenced, text in split_fences(markdown))


def split_fences(markdown: str) -> list[tuple[bool, str]]:
    """Return the text in pieces, each with whether it is a fenced block."""
    pieces, end = [], 0
    for match in FENCE.finditer(markdown):
        pieces += [(False, markdown[end : match.start()]), (True, match[0])]
        end = match.end()
    return [*pieces, (False, markdown[end:])]


def outside(page: str, markdown: str) -> set[str]:
    """Return the paths outside docs/ that a page links to, relative to the root of the repository."""
    prose = "".join(text for fenced, text in split_fences(markdown) if not fenced)
    targets = {resolve(page, match[1]) for match in LINK.finditer(prose)}
    return {target for target in targets if target is not None and source_uri(target).startswith("source/")}


def resolve(page: str, link: str) -> str | None:
    """Return the path of a linked file, relative to the root; None for a link within docs/ or to another site."""
    if re.match(r"\w+:", link):
        return None
    home = posixpath.dirname(COPIED.get(page, f"docs/{page}"))
    path = posixpath.normpath(posixpath.join(home, link))
    if path.startswith("..") or not (ROOT / path).exists():
        return None
    if path.startswith("docs/"):
        return None if page not in COPIED else path
    return path


def source_uri(target: str) -> str:
    """Return the page that shows a file or folder of the repository, or the page of docs/ that it is."""
    if target.startswith("docs/"):
        return target.removeprefix("docs/")
    copied = {file: page for page, file in COPIED.items()}
    return copied.get(target) or f"source/{target}.md"


def source_page(target: str) -> str:
    """Return a page with the text of one file, or the list of a folder's files."""
    path = ROOT / target
    head = f"---\ntitle: {path.name}\nsearch:\n  exclude: true\nhide: [navigation, toc]\n---\n\n# {target}\n\n"
    if path.is_dir():
        return head + folder_table(path)
    if path.suffix == ".md":
        return re.sub(r"^# .*\n", "", head.rstrip()) + "\n\n" + path.read_text(encoding="utf-8")
    language = {".py": "python", ".yaml": "yaml", ".toml": "toml"}.get(path.suffix, "text")
    return f'{head}````{language} linenums="1"\n{path.read_text(encoding="utf-8")}````\n'


def docstring(path: Path) -> str:
    """Return the docstring of a module."""
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""


def first_line(path: Path) -> str:
    """Return the first sentence about a module: of its docstring, or else of its first class or function."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = [tree, *(node for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef))]
    texts = (ast.get_docstring(node) for node in nodes)
    text = next((text for text in texts if text), "")
    return escape(" ".join(text.partition("\n\n")[0].split()))


def modules_table(folder: Path) -> str:
    """Return a table of a folder's modules with the first line of each."""
    rows = [f"| `{path.name}` | {first_line(path)} |" for path in sorted(folder.glob("*.py")) if path.name != "__init__.py"]
    return "\n".join(["| module | |", "|---|---|", *rows, ""]) if rows else ""


def folder_table(folder: Path) -> str:
    """Return a table of what lies in a folder: subfolders, modules with their first line, other files."""
    rows = []
    for path in sorted(folder.iterdir(), key=lambda path: (path.is_file(), path.name)):
        if path.name.startswith((".", "__")):
            continue
        package = path / "__init__.py"
        about = first_line(path) if path.suffix == ".py" else first_line(package) if package.exists() else ""
        rows.append(f"| `{path.name}{'/' if path.is_dir() else ''}` | {about} |")
    return "\n".join(["| | |", "|---|---|", *rows, ""])


def modules_page() -> str:
    """Return a page with every module of accel, a folder at a time."""
    folders = sorted({path.parent for path in (ROOT / "accel").rglob("*.py")})
    lines = [
        "# All modules",
        "",
        "The first line of each module, folder by folder. The [map](map.md) says how they work together.",
        "",
    ]
    for folder in folders:
        package = folder / "__init__.py"
        about = first_line(package) if package.exists() else ""
        lines += [f"## {folder.relative_to(ROOT).as_posix()}/", "", about, "", modules_table(folder)]
    return "\n".join(lines)


def escape(text: str) -> str:
    """Return prose with the characters of Markdown escaped outside of backticks, and with links for addresses."""
    pieces = re.split(r"(`[^`]*`|https?://[^\s;,)]+)", text)
    return "".join(
        piece if piece.startswith("`") else f"<{piece}>" if piece.startswith("http") else escape_prose(piece) for piece in pieces
    )


def escape_prose(text: str) -> str:
    """Return a piece of prose with the characters of Markdown and HTML escaped, and with links for papers on arXiv."""
    plain = re.sub(r"([\\*_\[\]<|])", r"\\\1", text)
    return re.sub(r"arXiv (\d{4}\.\d{4,5})", r"[arXiv \1](https://arxiv.org/abs/\1)", plain)


def sentence(text: str) -> str:
    """Return a text that begins with a capital letter, unless it begins with a name in code."""
    return text[:1].upper() + text[1:] if text.partition(" ")[0].isalpha() else text


def plugin_page(name: str) -> str:
    """Return the page of a plugin, from its module docstring and its yaml."""
    page, path = registry.plugin_signature(name), ROOT / f"accel/plugins/{name}.py"
    title, _, body = docstring(path).partition("\n\n")
    cls = page.target.rpartition(".")[2]
    title = re.sub(rf"^{cls}: ", "", " ".join(title.split()))
    prose, sections = split_sections(body)
    lines = [f"---\ntitle: {name}\n---", "", f"# {name}", "", escape(sentence(title)), ""]
    lines += [f"Part: [`{page.part}`](../reference/parts.md#accel.parts.{page.part}). Class: `accel.plugins.{cls}`, in"]
    lines += [f"[accel/plugins/{name}.py](../../accel/plugins/{name}.py).", "", prose, ""]
    for word, text in sections.items():
        lines += [f"**{word}**", f":   {text}", ""]
    lines += ["## Settings", "", *settings_table(name, page), ""]
    lines += ["## Use", "", "```", f"python -m accel.train '+plugins=[{name}]'", "```", ""]
    return "\n".join(lines)


def split_sections(body: str) -> tuple[str, dict[str, str]]:
    """Return the paragraphs in front of the sections, and each section's text by its word."""
    prose: list[str] = []
    sections: dict[str, list[str]] = {}
    for line in body.splitlines():
        match = re.match(rf"({'|'.join(SECTIONS)}) {{2,}}(.*)", line)
        if match:
            sections[match[1]] = [match[2]]
        elif sections:
            sections[list(sections)[-1]].append(line)
        else:
            prose.append(line)
    texts = {word: escape(" ".join(" ".join(lines).split())) for word, lines in sections.items()}
    return escape("\n".join(prose)), texts


def settings_table(name: str, page: Any) -> list[str]:
    """Return the settings of a plugin, as its yaml has them and as its class checks them."""
    yaml = (ROOT / f"conf/plugins/{name}.yaml").read_text(encoding="utf-8")
    rows = []
    for setting, default, about in re.findall(r"^(\w+): (.*?)  # (.+)$", yaml, re.MULTILINE):
        kind = escape(values.describe_kind(page.settings[setting].kind))
        rows.append(f"| `{setting}` | `{default}` | {escape(about)} *({kind})* |")
    if not rows:
        return ["None."]
    return ['<div class="compact" markdown>', "", "| setting | default | meaning |", "|---|---|---|", *rows, "", "</div>"]


def bundle_files() -> list[Path]:
    """Return the yaml files that list plugins."""
    return [path for path in sorted((ROOT / "conf/plugins").glob("*.yaml")) if "_target_" not in path.read_text(encoding="utf-8")]


def bundle_page(path: Path) -> str:
    """Return the page of a bundle: its yaml, which has the reason for each choice."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    about = lines[1].removeprefix(f"# {path.stem}: ")
    yaml = "\n".join(lines[2:])
    use = f"## Use\n\n```\npython -m accel.train '+plugins=[{path.stem}]'\n```\n"
    return f"# {path.stem}\n\n{escape(sentence(about))}\n\n```yaml\n{yaml}\n```\n\n{use}"
