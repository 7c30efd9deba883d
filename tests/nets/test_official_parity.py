"""The official Kipoi models: outputs of their code with made-up weights (tests/golden), and the real weights online."""

import json

import h5py
import numpy as np
import pytest
import torch

from regzoo.errors import ModelError
from regzoo.nets import build
from regzoo.nets.checkpoint import convert_official, file_digest
from regzoo.sequence import from_one_hot, one_hot
from regzoo.zoo import ZooModule, catalogue, load_model
from tests.conftest import FASTA, ROOT, VCF

GOLDEN = ROOT / "tests" / "golden"
REFERENCE = json.loads((GOLDEN / "official_cnn.json").read_text())
#: Golden name -> architecture, whether channels are in the order A, G, C, T, whether strands are averaged.
MODELS = {
    "deepsea_predict": ("deepsea", True, True),
    "deepsea_varianteffects": ("deepsea", True, False),
    "basset": ("basset", False, False),
    "beluga": ("beluga", True, False),
}


def made_up_state(name):
    """Weights of the golden outputs: one generator per tensor, seeded by its index."""
    state = {}
    for i, (key, shape) in enumerate(REFERENCE[name]["keys"]):
        rng = np.random.default_rng([REFERENCE[name]["seed"], i])
        if key.endswith("num_batches_tracked"):
            value = np.zeros(shape, dtype=np.int64)
        elif key.endswith("running_var"):
            value = rng.uniform(0.5, 1.5, shape).astype(np.float32)
        elif len(shape) >= 2:
            value = rng.standard_normal(shape, dtype=np.float32) * np.float32(1.5 / np.sqrt(np.prod(shape[1:])))
        else:
            value = rng.standard_normal(shape, dtype=np.float32) * np.float32(0.1)
        state[key] = torch.from_numpy(np.asarray(value))
    return state


@pytest.mark.parametrize("name", MODELS)
def test_outputs_equal_official_code(name):
    architecture, swap_cg, both_strands = MODELS[name]
    net = build(architecture)
    convert_official(net, made_up_state(name), swap_cg)
    golden = np.load(GOLDEN / "official_cnn.npz")
    codes = golden[f"{name}/codes"]
    if name == "beluga":  # its dataloader gives channels A, G, C, T
        codes = np.array([0, 2, 1, 3, 4], dtype=np.uint8)[codes]
    with torch.inference_mode():
        output = ZooModule(net, "sigmoid", both_strands).eval()(torch.from_numpy(one_hot(codes))).numpy()
    assert np.abs(output - golden[f"{name}/output"]).max() <= 1e-5


@pytest.mark.parametrize(
    ("name", "parameters"), [("deepsea", 52_843_119), ("beluga", 149_536_251), ("basset", 4_135_064)]
)
def test_published_parameter_counts(name, parameters):
    assert sum(p.numel() for p in build(name).parameters()) == parameters


def test_checkpoint_of_another_architecture_is_rejected():
    state = made_up_state("basset")
    with pytest.raises(ModelError, match="tensors"):
        convert_official(build("deepsea"), state)
    key = next(iter(state))
    state[key] = state[key][:, :, :5]
    with pytest.raises(ModelError, match=r"has shape .*, but .* has shape"):
        convert_official(build("basset"), state)


OFFICIAL = "https://s3.eu-central-1.amazonaws.com/kipoi-models/predictions/"
EXPECTED = {
    "DeepSEA/predict": (
        "14f9bf4b49e21c7b31e8f6d6b9fc69ed88e25f43/DeepSEA/predict/predictions.h5",
        "fc60cfb01a4a4415e7a1095e5f7716e5",
    ),
    "DeepSEA/variantEffects": (
        "14f9bf4b49e21c7b31e8f6d6b9fc69ed88e25f43/DeepSEA/variantEffects/predictions.h5",
        "365924f5d7f3372ef57721f2742192f9",
    ),
    "DeepSEA/beluga": (
        "e988be6b74ad08b63d1b2000b428965828d789e6/DeepSEA/beluga/test.expect.pytorch.h5",
        "d3ac2198d269defd06c0e1ec63f02574",
    ),
    "Basset/official": (
        "14f9bf4b49e21c7b31e8f6d6b9fc69ed88e25f43/Basset/predictions.h5",
        "9df59f9899b27e65ab95426cb9557ad3",
    ),
    "MPRA-DragoNN/ConvModel": (
        "https://zenodo.org/record/6492201/files/MPRA-DragoNN__ConvModel.predictions.h5?download=1",
        "34242ec19bd5e41bb5c6f5f06c2e6c41",
    ),
}


@pytest.mark.official
@pytest.mark.parametrize("name", EXPECTED)
def test_real_weights_give_official_predictions(name, tmp_path):
    import urllib.error
    import urllib.parse
    import urllib.request

    address, md5 = EXPECTED[name]
    path = tmp_path / "expected.h5"
    try:
        urllib.request.urlretrieve(urllib.parse.urljoin(OFFICIAL, address), path)
        model = load_model(name, device="cpu")
    except (urllib.error.URLError, ModelError) as error:
        pytest.skip(f"the official files cannot be downloaded here: {error}")
    assert file_digest(path, "md5") == md5
    with h5py.File(path) as expected:
        inputs, predictions = expected["inputs"][()], expected["preds"][()]
    if name == "MPRA-DragoNN/ConvModel":  # (N, positions, 4)
        inputs = inputs.swapaxes(1, 2)
    codes = from_one_hot(inputs.reshape(len(inputs), 4, model.input_length))
    if name == "DeepSEA/beluga":
        codes = np.array([0, 2, 1, 3, 4], dtype=np.uint8)[codes]
    assert np.abs(model.predict(codes) - predictions).max() <= 1e-5


@pytest.mark.official
def test_variant_effects_equal_official_model_run_by_kipoi(tmp_path):
    """Kipoi's own DeepSEA/variantEffects, from the source 'kipoi', on the example's variants."""
    import kipoi

    from regzoo.effects.windows import allele_windows
    from regzoo.sequence import Genome, read_alleles

    try:
        official = kipoi.get_model("DeepSEA/variantEffects", source="kipoi", with_dataloader=False)
        model = load_model("DeepSEA/variantEffects", device="cpu")
    except Exception as error:  # without a network, git, git-lfs and downloads raise different errors
        pytest.skip(f"the official model cannot be had here: {error}")
    alleles = read_alleles(VCF)
    differences = []
    for predict in (lambda w: official.predict_on_batch(one_hot(w)[:, :, None]), model.predict):
        ref, alt = (predict(w) for w in allele_windows(alleles, Genome(FASTA), 1000)[:2])
        differences.append(alt - ref)
    assert np.abs(differences[0]).max() > 1e-3
    assert np.abs(differences[0] - differences[1]).max() <= 1e-5


def test_all_official_models_are_compared():
    assert set(EXPECTED) == {name for name, entry in catalogue().items() if entry["status"] == "official"}
