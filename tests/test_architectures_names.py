"""What a variant may be called: a function, a class with classes among its arguments, a network of a library."""

import functools
import hashlib
import importlib.metadata
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from driving import orchestrator
from torch import nn

import orchestrator as orchestrator_package
from orchestrator.architectures import build_network, family, load_network, named_in, source_digest
from orchestrator.architectures.arguments import CLASSES, passed
from orchestrator.architectures.digest import unimported_digest
from orchestrator.architectures.locate import name_of
from orchestrator.architectures.untracked import source_notes
from orchestrator.checks.check import Request
from orchestrator.checks.versions import same_networks
from orchestrator.errors import VariantError
from orchestrator.experiment.plan import make_plan
from orchestrator.experiment.reader import read_experiment
from orchestrator.spec import Plan, TrialSpec
from orchestrator.trial import TrialFolder

SHAPE = (3, 16, 16)

RESIDUAL = """
import functools
from torch import nn
from torch.nn import functional as F


class Basic(nn.Module):
    def __init__(self, planes, act=nn.ReLU):
        super().__init__()
        self.conv, self.act = nn.Conv2d(planes, planes, 3, padding=1), act()

    def forward(self, x):
        return x + self.act(self.conv(x))


class Wide(Basic):
    pass


def plain(planes, act=nn.ReLU):
    return nn.Sequential(nn.Conv2d(planes, planes, 1), act())


class Net(nn.Module):
    def __init__(self, block, blocks, num_classes=100, **options):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3)
        self.body = nn.Sequential(*[block(8, **options) for _ in range(sum(blocks))])
        self.head = nn.Linear(8, num_classes)

    def forward(self, x):
        return self.head(F.relu(self.body(self.stem(x))).mean((2, 3)))


def fixed():
    return Net(Basic, [1, 1])


def told(num_classes=1000):
    return Net(Basic, [1, 1], num_classes)


def keywords(**kwargs):
    return Net(Basic, [1, 1], **kwargs)


def own_name(**kwargs):
    return OwnName(**kwargs)


class OwnName(Net):
    def __init__(self, nb_classes=4):
        super().__init__(Basic, [1], nb_classes)


def closed(**kwargs):
    return Net(Basic, [1, 1], num_classes=10, **kwargs)


def failing(**kwargs):
    raise KeyError("lr of 'num_classes'")


def wrong_type(**kwargs):
    return Net(Basic, [1, 1], **kwargs, width="3" + 4)


def nothing():
    return None


once = Net(Basic, [1], 10)
bound = functools.partial(Net, Basic, [1])
number = 3


@functools.cache
def shared():
    return Net(Basic, [1], 10)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "net.py").write_text(RESIDUAL)
    return tmp_path / "net.py"


def classes_of(variant: str, num_classes: int = 7, arguments: dict | None = None) -> int:
    network = build_network(variant, arguments, num_classes, SHAPE)
    logits = network.eval()(torch.zeros(2, *SHAPE))
    assert isinstance(logits, torch.Tensor)
    return logits.shape[1]


@pytest.mark.parametrize(("name", "given"), [("told", "num_classes"), ("keywords", "num_classes"),
                                             ("own_name", "nb_classes"), ("bound", "num_classes")])  # fmt: skip
def test_a_function_is_a_variant_and_is_told_the_number_of_classes(name: str, given: str, file: Path) -> None:
    assert classes_of(f"{file}:{name}") == 7
    assert passed(f"{file}:{name}", {}, 7, SHAPE).notes == (f"passed to {name}: {given}=7",)
    assert len(source_digest(f"{file}:{name}")) == 64


def test_a_functions_arguments_are_the_users(file: Path) -> None:
    assert classes_of(f"{file}:keywords", 7, {"num_classes": 7}) == 7
    assert passed(f"{file}:keywords", {"num_classes": 7}, 7, SHAPE).known == {}
    with pytest.raises(VariantError, match=r"cannot be built: .*unexpected keyword argument 'width'"):
        build_network(f"{file}:own_name", {"width": 3}, 7, SHAPE)


def test_keywords_that_cannot_take_the_number_of_classes_do_not_get_it(file: Path) -> None:
    assert passed(f"{file}:closed", {}, 10, SHAPE).notes == ("passed to closed: nothing",)
    assert classes_of(f"{file}:closed", 10) == 10


def test_trying_the_keywords_leaves_the_weights_alone(file: Path) -> None:
    load_network(f"{file}:told")  # draws numbers when it is imported
    weights = []
    for _ in range(2):
        torch.manual_seed(5)
        weights.append(build_network(f"{file}:keywords", None, 7, SHAPE).head.weight)
    torch.manual_seed(5)
    weights.append(build_network(f"{file}:told", None, 7, SHAPE).head.weight)
    assert all(torch.equal(weights[0], other) for other in weights)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "fixed",
            r"logits of shape \(N, 7\), not shape \(2, 100\).*no parameters.*one called num_classes, or name the",
        ),
        ("failing", r"cannot be built: failing, .*net\.py:\d+: KeyError: \"lr of 'num_classes'\""),
        ("wrong_type", r"cannot be built: wrong_type, .*net\.py:\d+: TypeError: can only concatenate str"),
        ("nothing", "returns NoneType, not a torch.nn.Module"),
        ("once", "once is a network already made"),
        ("number", r"number is not a torch.nn.Module class or a function .*it has: Basic, Net.*fixed"),
        ("Bassic", r"does not exist.*did you mean Basic\?"),
        ("Net", "needs block, blocks; set what has no default in the variant's arguments"),
    ],
)
def test_what_makes_no_network_is_refused_in_one_line(name: str, words: str, file: Path) -> None:
    with pytest.raises(VariantError, match=words) as problem:
        build_network(f"{file}:{name}", None, 7, SHAPE)
    assert "\n" not in str(problem.value)


def test_a_function_that_returns_the_same_network_again_is_refused(file: Path) -> None:
    first = build_network(f"{file}:shared", None, 10, SHAPE)
    with pytest.raises(VariantError, match="returns the same network again"):
        build_network(f"{file}:shared", None, 10, SHAPE)
    assert first is load_network(f"{file}:shared")()


def test_classes_and_functions_are_arguments_anywhere_in_them(file: Path) -> None:
    (file.parent / "acts.py").write_text("from torch import nn\nclass Act(nn.Hardswish): pass\n")
    arguments = {
        "block": {"class": "Basic"},
        "blocks": [1, 1],
        "act": {"class": f"{file.parent / 'acts.py'}:Act"},
    }
    network = build_network(f"{file}:Net", arguments, 7, SHAPE)
    assert type(network.body[0]) is load_network(f"{file}:Basic")
    assert isinstance(network.body[0].act, nn.Hardswish)
    built = build_network(f"{file}:Net", {**arguments, "act": {"class": "torch.nn:SiLU"}}, 7, SHAPE)
    assert type(built.body[1].act) is nn.SiLU
    plain = build_network(f"{file}:Net", {"block": {"class": "plain"}, "blocks": [2]}, 7, SHAPE)
    assert isinstance(plain.body[0], nn.Sequential)


NESTED = """
from torch import nn
class Net(nn.Sequential):
    def __init__(self, layers, num_classes):
        made = [layer["kind"](**layer.get("options", {})) for layer in layers]
        super().__init__(*made, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, num_classes))
"""


def test_references_are_found_in_lists_and_mappings(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NESTED)
    layers = [
        {"kind": {"class": "torch.nn:LeakyReLU"}, "options": {"negative_slope": 0.3}},
        {"kind": {"class": "torch.nn:Identity"}},
    ]
    network = build_network(f"{tmp_path / 'net.py'}:Net", {"layers": layers}, 7, SHAPE)
    assert network[0].negative_slope == 0.3
    assert isinstance(network[1], nn.Identity)
    assert layers[1] == {"kind": {"class": "torch.nn:Identity"}}  # what was given is as it was


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Basik", r"class Basik in arguments does not exist in .*did you mean Basic\?\); it has: Basic, .*Wide"),
        ("number", "is not a class or function"),
        ("absent.py:Block", "class absent.py:Block in arguments: there is no readable file"),
        ("no.such.module:Block", "class no.such.module:Block in arguments: there is no module no.such.module"),
    ],
)
def test_a_reference_to_nothing_is_refused_with_what_there_is(name: str, words: str, file: Path) -> None:
    with pytest.raises(VariantError, match=words):
        build_network(f"{file}:Net", {"block": {"class": name}, "blocks": [1]}, 7, SHAPE)


def plan_of(folder: Path, **variant: object) -> Plan:
    settings = {"name": "x", "variants": [{"name": f"{folder / 'net.py'}:Net", **variant}]}
    return make_plan(read_experiment(settings, "x"))


def test_an_edit_in_a_referenced_file_makes_another_trial(file: Path, tmp_path: Path) -> None:
    folder = file.parent
    (folder / "parts").mkdir()
    (folder / "parts" / "blocks.py").write_text("from helper import size\nclass Block: pass\nclass Other: pass\n")
    (folder / "parts" / "helper.py").write_text("size = 1\n")

    def identity(place: Path, name: str = "Block", other: str = "Other") -> str:
        block = {"class": f"{place / 'parts' / 'blocks.py'}:{name}"}
        arguments = {"blocks": [1], "block": block, "act": {"class": str(block["class"]).replace(name, other)}}
        [spec] = plan_of(place, arguments=arguments).trials[:1]
        return spec.identity()

    before = identity(folder)
    shutil.copytree(folder, tmp_path / "moved")
    assert identity(tmp_path / "moved") == before
    assert identity(folder, "Other", "Block") != before
    (folder / "parts" / "helper.py").write_text("size = 2\n")
    assert identity(folder) != before


def test_references_within_the_file_add_nothing_to_its_digest(file: Path) -> None:
    alone = source_digest(f"{file}:Net")
    for name in ("Basic", f"{file}:Basic", f"{file.parent}/../{file.parent.name}/net.py:Basic"):
        assert source_digest(f"{file}:Net", {"block": {"class": name}}) == alone
    assert source_digest(f"{file}:Net", {"act": {"class": "torch.nn:SiLU"}}) != alone
    assert source_digest("stride", {"act": {"class": "torch.nn:SiLU"}}) != source_digest("stride") == ""
    assert unimported_digest(f"{file}:Net", {"block": {"class": "Basic"}}) == f"Net {alone}"


def test_a_class_drawn_by_a_search_counts_in_the_trials_identity(file: Path) -> None:
    other = file.parent / "other.py"
    other.write_text("class Block: pass\n")
    arguments = {"block": {"class": "Basic"}, "blocks": [1]}
    choices = [{"class": "Basic"}, {"class": f"{other}:Block"}]
    settings = {
        "name": "x",
        "variants": [{"name": f"{file}:Net", "arguments": arguments}],
        "search": {"samples": 4, "space": {"arguments.block": {"choice": choices}}},
    }
    trials = make_plan(read_experiment(settings, "x")).trials
    assert len({spec.source_digest for spec in trials}) == 2  # both were drawn
    for spec in trials:
        assert spec.source_digest == source_digest(spec.variant, spec.arguments)


def test_notes_of_referenced_files(file: Path) -> None:
    (file.parent / "acts.py").write_text("from torch import nn\nTABLE = open(__file__).read()\nclass Act: pass\n")
    arguments = {"act": {"class": f"{file.parent / 'acts.py'}:Act"}}
    [note] = source_notes(f"{file}:Net", arguments)
    assert note.startswith("Net: ")
    assert "acts.py:2: open" in note
    assert source_notes(f"{file}:Net", {"block": {"class": "Basic"}}) == []


@pytest.mark.parametrize("variant", ["timm:resnet18", "torchvision:mobilenet_v3_small", "torchvision:googlenet",
                                     "timm:test_resnet.r160_in1k"])  # fmt: skip
def test_networks_of_libraries_have_their_names(variant: str) -> None:
    assert classes_of(variant) == 7
    assert family(variant) == variant.partition(":")[0]
    library = variant.partition(":")[0]
    version = f"{library} {importlib.metadata.version(library)}"
    assert source_digest(variant) == hashlib.sha256(version.encode()).hexdigest()
    assert source_notes(variant) == []
    [note] = passed(variant, {}, 7, SHAPE).notes
    assert note.endswith("num_classes=7, in_chans=3" if library == "timm" else "num_classes=7")


def test_timm_is_told_the_channels_and_other_arguments() -> None:
    network = build_network("timm:resnet18", {"drop_rate": 0.5}, 7, (1, 16, 16))
    assert network.conv1.in_channels == 1
    assert network.drop_rate == 0.5


@pytest.mark.parametrize(
    ("variant", "arguments", "words"),
    [
        ("timm:resnet81", {}, r"timm has no network 'resnet81' that classifies images \(did you mean resnet\d+.*\?\)"),
        ("torchvision:resnet_18", {}, r"\(did you mean resnet18\?\).*list_models"),
        ("torchvision:fasterrcnn_resnet50_fpn", {}, "has no network 'fasterrcnn_resnet50_fpn' that classifies"),
        ("timm:resnet18", {"pretrained": True}, "pretrained loads trained weights"),
        ("torchvision:resnet18", {"weights": "DEFAULT"}, "weights loads trained weights"),
        ("timm:resnet18", {"wdith": 3}, "cannot be built: TypeError: .*'wdith'"),
        ("timm:resnet18", {"block": {"class": "Basic"}}, "class Basic in arguments needs the place where it is"),
    ],
)
def test_what_a_library_cannot_give_is_refused(variant: str, arguments: dict, words: str) -> None:
    with pytest.raises(VariantError, match=words):
        build_network(variant, arguments, 7, SHAPE)


def test_pretrained_false_says_what_is_so() -> None:
    assert classes_of("timm:resnet18", 7, {"pretrained": False}) == 7
    assert classes_of("torchvision:resnet18", 7, {"weights": None}) == 7


def test_a_missing_library_is_told_how_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)  # as Python marks what it must not import
    with pytest.raises(VariantError, match=r"^timm:resnet18: timm cannot be imported .*pip install .*\[timm\]") as told:
        build_network("timm:resnet18")
    assert "\n" not in str(told.value)


def test_an_other_version_of_the_library_is_another_network(monkeypatch: pytest.MonkeyPatch) -> None:
    here = source_digest("timm:resnet18")
    assert unimported_digest("timm:resnet18") == f"resnet18 {here}"
    version = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.9" if name == "timm" else version(name))
    assert source_digest("timm:resnet18") != here


def test_specifications_of_equal_names_differ_by_the_library() -> None:
    specs = [TrialSpec(variant=v, source_digest=source_digest(v)) for v in ("timm:resnet18", "torchvision:resnet18")]
    assert specs[0].identity() != specs[1].identity()


AUXILIARY = """
from collections import namedtuple
from torch import nn
Outputs = namedtuple("Outputs", "logits aux")
class Net(nn.Module):
    def __init__(self, form, num_classes):
        super().__init__()
        self.form, self.head, self.aux = form, nn.Linear(3, num_classes), nn.Linear(3, num_classes + 1)
    def forward(self, x):
        x = x.mean((2, 3))
        logits, aux = self.head(x), self.aux(x)
        return {
            "tuple": (logits, aux), "list": [logits, aux], "mapping": {"aux": aux, "logits": logits},
            "named": Outputs(logits, aux), "text": "no", "reversed": (aux, logits), "unnamed": {"out": logits},
        }[self.form]
"""


@pytest.mark.parametrize("form", ["tuple", "list", "mapping", "named"])
def test_the_logits_among_several_outputs_are_judged(form: str, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(AUXILIARY)
    build_network(f"{tmp_path / 'net.py'}:Net", {"form": form}, 7, SHAPE)


@pytest.mark.parametrize(("form", "got"), [("text", "str"), ("reversed", r"shape \(2, 8\)"), ("unnamed", "dict")])
def test_outputs_without_logits_are_refused(form: str, got: str, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(AUXILIARY)
    with pytest.raises(VariantError, match=rf"must return logits of shape \(N, 7\), not {got} for N = 2"):
        build_network(f"{tmp_path / 'net.py'}:Net", {"form": form}, 7, SHAPE)


def test_a_function_is_inspected_and_trained_by_the_commands(file: Path, packed: Path) -> None:
    """With the installed command, whose sys.path lacks the current folder, from a module of that folder."""
    found = json.loads(orchestrator("inspect", "net:told", "--classes", "3", "--json", cwd=file.parent).stdout)
    assert found["variant"] == "net:told"
    assert "passed to told: num_classes=3" in found["notes"]
    trained = orchestrator("train", "net:keywords", "--dataset", str(packed), "--epochs", "1", cwd=file.parent)
    assert trained.returncode == 0, trained.stderr
    assert (file.parent / "trials" / "keywords" / "seed-0" / "outcome.json").is_file()


def test_names_of_variants_by_usual_keywords_are_all_tried(tmp_path: Path) -> None:
    for name in CLASSES:
        (tmp_path / "net.py").write_text(
            f"from torch import nn\ndef make(**kwargs): return Net(**kwargs)\nclass Net(nn.Module):\n"
            f"    def __init__(self, {name}=1000):\n        super().__init__()\n"
            f"        self.head = nn.Linear(3, {name})\n    def forward(self, x): return self.head(x.mean((2, 3)))\n"
        )
        assert passed(f"{tmp_path / 'net.py'}:make", {}, 7, SHAPE).known == {name: 7}


def test_inspect_takes_arguments(file: Path) -> None:
    block = ("--set", "arguments.block.class=Basic", "--set", "arguments.blocks=[1, 2]")
    done = orchestrator("inspect", "net.py:Net", *block, "--json", cwd=file.parent)
    network = build_network(f"{file}:Net", {"block": {"class": "Basic"}, "blocks": [1, 2]})
    assert json.loads(done.stdout)["parameters"] == sum(p.numel() for p in network.parameters())
    assert "only arguments of the network can be set" in (
        orchestrator("inspect", "net.py:Net", "--set", "trainer.epochs=3", cwd=file.parent).stderr
    )


def in_this_process(num_classes: int = 3, width: int = 4) -> nn.Module:
    """A function for the Python API, to be named by the module of this test."""
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes))


def test_a_function_is_given_in_python(packed: Path, tmp_path: Path) -> None:
    found = orchestrator_package.inspect(in_this_process, arguments={"width": 5}, classes=3)
    assert (found.label, found.parameters) == ("in_this_process", 5 * 27 + 5 + 5 * 3 + 3)
    trial = orchestrator_package.train(
        in_this_process, dataset=str(packed), arguments={"width": 5}, epochs=1, out=tmp_path / "trial"
    )
    assert TrialFolder(tmp_path / "trial").spec().arguments == {"width": 5}
    assert trial.name == "in_this_process/seed-0"


def test_only_what_has_a_name_can_be_given_in_python() -> None:
    for nameless in (lambda: None, functools.partial(in_this_process, 3)):
        with pytest.raises(VariantError, match=r"cannot be found by that name|has no name by which it can be imported"):
            name_of(nameless)  # type: ignore[arg-type]


NOTEBOOK = """
import torch.nn as nn
class Block(nn.Module):
    def forward(self, x):
        return x * {factor}
class Unused(nn.Module):
    def forward(self, x):
        return x - {unused}
def middle():
    return [Block()]
def make(num_classes=10):
    return nn.Sequential(*middle())
class Net(Block):
    pass
from orchestrator.architectures import source_digest
print(source_digest("__main__:make"), source_digest("__main__:Net"))
"""


def test_what_a_notebook_defines_is_followed_to_what_it_uses(tmp_path: Path) -> None:
    def digests(factor: int, unused: int = 1) -> list[str]:
        script = tmp_path / "cells.py"
        script.write_text(NOTEBOOK.format(factor=factor, unused=unused))
        command = [sys.executable, "-c", f"exec(compile(open({str(script)!r}).read(), '<cell>', 'exec'))"]
        return subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path).stdout.split()

    before = digests(2)
    assert [len(digest) for digest in before] == [64, 64]
    assert digests(2, unused=3) == before
    assert all(old != new for old, new in zip(before, digests(5), strict=True))


def test_another_source_of_a_referenced_class_fails_the_check_of_a_node(file: Path) -> None:
    block = file.parent / "block.py"
    block.write_text("class Block: pass\n")
    arguments = {"act": {"class": f"{block}:Block"}}
    known = {(f"{file}:Net", *named_in(arguments)): source_digest(f"{file}:Net", arguments)}
    assert [level for level, _, _ in same_networks(Request("/", networks=known))] == ["ok"]
    block.write_text("class Block: pass  # edited\n")
    assert [level for level, _, _ in same_networks(Request("/", networks=known))] == ["failure"]


def test_inspect_says_that_a_network_returns_auxiliary_outputs() -> None:
    notes = orchestrator_package.inspect("torchvision:googlenet", arguments={"aux_logits": True}).notes
    assert "googlenet returns 2 auxiliary outputs beside its logits in training mode" in notes
    assert not any("auxiliary" in note for note in orchestrator_package.inspect("stride").notes)
