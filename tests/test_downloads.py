"""Downloads over a loopback server: official checkpoints by https, and repositories in the layout of the hub."""

import hashlib
import http.server
import io
import json
import resource
import shutil
import socket
import ssl
import subprocess
import threading
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from typer.testing import CliRunner

import regzoo
from regzoo.cli import app
from regzoo.errors import ModelError, OutputError
from regzoo.nets import load_pretrained
from regzoo.sequence import encode
from regzoo.tokenizers import OverlappingKmers, SixMers, train_bpe
from tests.conftest import FASTA, ROOT, VCF
from tests.nets.test_dragonn import NAME as DRAGONN
from tests.nets.test_dragonn import SIZES, keras_outputs, write_keras
from tests.nets.test_language_models import BERT, FACTS, GOLDEN, OUTPUTS
from tests.nets.test_official_parity import MODELS, made_up_state


class Site(http.server.ThreadingHTTPServer):
    """Files by path, and for some paths what goes wrong: a status, a redirection, or the bytes before the cut.

    Attributes
    ----------
    files : dict of str to bytes
    headers : dict of str to dict
        More headers of a file.
    wrong : dict of str to int or str
        Status code; address of a redirection; 'cut' or 'chunked cut' in the middle of the first answer, 'dead' in the
        middle and no answer after it.
    requests : list of tuple
        Method, path and range.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.headers, self.wrong, self.requests = {}, {}, {}, []

    def handle_error(self, request, client):
        """Clients that refuse the certificate are expected."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path, site, asked = self.path.partition("?")[0], self.server, self.headers.get("Range")
        site.requests.append((self.command, path, asked))
        wrong = site.wrong.get(path) if self.command == "GET" else None
        self.close_connection = wrong is not None
        if wrong == "dead" and asked:
            return
        content = site.files.get(path)
        if isinstance(wrong, int) or content is None:
            self.send_response(wrong or 404)
            self.send_header("X-Error-Code", "RepoNotFound")  # as the hub says it
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start = int(asked.removeprefix("bytes=").partition("-")[0]) if asked else 0
        self.send_response(302 if str(wrong).startswith("http") else 206 if asked else 200)
        if str(wrong).startswith("http"):
            self.send_header("Location", wrong)
            content = b""
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        for name, value in site.headers.get(path, {}).items():
            self.send_header(name, value)
        content = content[start:]
        if wrong == "chunked cut":
            self.send_header("Transfer-Encoding", "chunked")
            content = b"%x\r\n" % len(content) + content
        else:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content[: len(content) // 2] if "cut" in str(wrong) or wrong == "dead" else content)
            if wrong == "cut":
                del site.wrong[path]


@contextmanager
def running(site):
    threading.Thread(target=site.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield site
    finally:
        site.shutdown()
        site.server_close()


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("REGZOO_CACHE", str(tmp_path / "cache"))
    for name in ("https_proxy", "http_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def cached(tmp_path):
    return sorted(path.name for path in (tmp_path / "cache").rglob("*") if path.is_file())


# Official checkpoints.


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for localhost, signed by itself, with its key."""
    if not shutil.which("openssl"):
        pytest.skip("there is no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("certificate")
    files = {"-keyout": folder / "key.pem", "-out": folder / "certificate.pem"}
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        + ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
        + [str(part) for pair in files.items() for part in pair],
        check=True,
        capture_output=True,
    )
    return files["-out"], files["-keyout"]


@pytest.fixture
def site(certificate, monkeypatch):
    """An https server; its certificate is trusted."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    server = Site()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.address = f"https://localhost:{server.server_address[1]}/weights"
    with running(server):
        yield server


def directory(tmp_path, site, name, content, **arguments):
    """A copy of an official model's directory, with the server's address and the MD5 of `content`."""
    folder = shutil.copytree(ROOT / "models" / name, tmp_path / "models" / name)
    text = yaml.safe_load((folder / "model.yaml").read_text())
    text["args"]["arguments"] |= arguments
    text["args"]["official"] |= {"address": site.address, "md5": hashlib.md5(content).hexdigest()}
    text["default_dataloader"]["default_args"]["length"] = text["args"]["arguments"]["input_length"]
    (folder / "model.yaml").write_text(yaml.safe_dump(text))
    if "n_targets" in arguments:
        (folder / "targets.txt").write_text("".join(f"t{i}\n" for i in range(arguments["n_targets"])))
    site.files["/weights"] = content
    return folder


@pytest.fixture
def dragonn(tmp_path, site):
    content = write_keras(tmp_path / "made_up.hdf5", **SIZES).read_bytes()
    return directory(tmp_path, site, DRAGONN, content, **SIZES)


GOLDEN_NAMES = {
    "basset": "Basset/official",
    "deepsea_predict": "DeepSEA/predict",
    "deepsea_varianteffects": "DeepSEA/variantEffects",
    "beluga": "DeepSEA/beluga",
}


@pytest.mark.parametrize(
    "name", [name if name == "basset" else pytest.param(name, marks=pytest.mark.slow) for name in GOLDEN_NAMES]
)
def test_an_official_checkpoint_gives_the_official_outputs(name, site, tmp_path):
    """Download, verification, conversion and prediction, with the made-up weights of the golden outputs."""
    import kipoi

    buffer = io.BytesIO()
    torch.save(made_up_state(name), buffer)
    folder = directory(tmp_path, site, GOLDEN_NAMES[name], buffer.getvalue())
    done = CliRunner().invoke(app, ["fetch", str(folder)])
    assert done.exit_code == 0, done.exception
    golden = np.load(GOLDEN / "official_cnn.npz")
    codes = golden[f"{name}/codes"]
    if name == "beluga":  # its dataloader gives channels A, G, C, T
        codes = np.array([0, 2, 1, 3, 4], dtype=np.uint8)[codes]
    expected = golden[f"{name}/output"]
    np.testing.assert_allclose(regzoo.load_model(folder, device="cpu").predict(codes), expected, atol=1e-5)
    through = kipoi.get_model(str(folder), source="dir")
    one_hot = regzoo.sequence.one_hot(codes)
    np.testing.assert_allclose(through.predict_on_batch(one_hot), expected, atol=1e-5)
    assert [request[:2] for request in site.requests] == [("GET", "/weights")]  # once
    assert MODELS[name][2] == yaml.safe_load((folder / "model.yaml").read_text())["args"]["reverse_complement"]


def test_a_keras_file_is_downloaded_converted_and_scored(dragonn, tmp_path):
    arguments = [str(VCF), "--genome", str(FASTA), "--model", str(dragonn), "-s", "ref", "-o", str(tmp_path / "o.tsv")]
    done = CliRunner().invoke(app, ["score", *arguments, "--strands", "forward"])
    assert done.exit_code == 0, done.exception
    found = pd.read_csv(tmp_path / "o.tsv", sep="\t")
    codes = regzoo.Genome(FASTA).codes("chr1")
    rows = found[(found.chrom == "chr1") & (found.ref.str.len() == 1)].iloc[:5]
    windows = np.stack([codes[p - 10 : p + 10] for p in rows.pos])
    expected = keras_outputs(tmp_path / "made_up.hdf5", windows)
    np.testing.assert_allclose(rows.filter(like="ref:"), expected, rtol=1e-4, atol=5e-5)


def test_a_download_that_fails_leaves_nothing_and_is_repeated(dragonn, site, tmp_path):
    closed = socket.socket()
    closed.bind(("127.0.0.1", 0))
    half = len(site.files["/weights"]) // 2
    for wrong, message in (
        (404, "HTTP Error 404: Not Found"),
        (503, "HTTP Error 503"),
        ("cut", rf"the connection was cut after {half:,} of {len(site.files['/weights']):,} bytes"),
        ("chunked cut", "IncompleteRead"),
        ("http://localhost:1/weights", "unknown url type: http"),
        (f"https://localhost:{closed.getsockname()[1]}/x", "Connection refused"),
    ):
        site.wrong["/weights"] = wrong
        with pytest.raises(ModelError, match=message) as error:
            regzoo.load_model(dragonn, device="cpu")
        assert f"Get {site.address} on a connected machine and run `regzoo fetch {dragonn} --from" in str(error.value)
        assert cached(tmp_path) == []
    site.wrong.clear()
    regzoo.load_model(dragonn, device="cpu")
    assert len(cached(tmp_path)) == 3
    count = len(site.requests)
    regzoo.load_model(dragonn, device="cpu")
    assert len(site.requests) == count


def test_a_redirection_to_https_is_followed(dragonn, site):
    site.files["/elsewhere"], site.wrong["/weights"] = (
        site.files["/weights"],
        site.address.replace("weights", "elsewhere"),
    )
    regzoo.load_model(dragonn, device="cpu")
    assert [path for _, path, _ in site.requests] == ["/weights", "/elsewhere"]


def test_a_download_with_another_digest_is_discarded(dragonn, site, tmp_path):
    right, wrong = site.files["/weights"], site.files["/weights"][:-1] + b"x"
    site.files["/weights"] = wrong
    for _ in range(2):
        with pytest.raises(ModelError, match=f"has md5 {hashlib.md5(wrong).hexdigest()}, .* download was discarded"):
            regzoo.fetch(dragonn)
        assert cached(tmp_path) == []
    site.files["/weights"] = right
    regzoo.fetch(dragonn)


def test_a_server_without_a_trusted_certificate_is_refused(dragonn, site, monkeypatch, tmp_path):
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(ModelError, match="cannot download .*CERTIFICATE_VERIFY_FAILED"):
        regzoo.fetch(dragonn)
    assert not site.requests and cached(tmp_path) == []


def test_without_a_network_a_file_is_taken(dragonn, site, tmp_path):
    site.shutdown()
    site.socket.close()
    with pytest.raises(ModelError, match="cannot download .*Connection refused"):
        regzoo.fetch(dragonn)
    regzoo.fetch(dragonn, tmp_path / "made_up.hdf5")
    regzoo.load_model(dragonn, device="cpu")


def test_a_full_disk_is_not_called_a_failed_download(dragonn, tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        for file in (None, tmp_path / "made_up.hdf5"):
            with pytest.raises(OutputError, match="cannot write .*free some space"):
                regzoo.fetch(dragonn, file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert cached(tmp_path) == []


def test_an_endless_download_is_ended(dragonn, site, monkeypatch, tmp_path):
    monkeypatch.setattr("regzoo.nets.checkpoint.LARGEST_FILE", len(site.files["/weights"]) - 1)
    with pytest.raises(ModelError, match="cannot download its official weights .it is larger than"):
        regzoo.fetch(dragonn)
    assert cached(tmp_path) == []


def test_doctor_finds_damaged_weights(monkeypatch):
    from regzoo.description import read_description
    from regzoo.doctor import _official
    from regzoo.zoo import model_folder

    file = read_description(model_folder("Basset/official")).args.official.file
    assert _official().passed and _official().found.startswith("none in the cache")
    file.write_bytes(b"half of it")
    check = _official()
    assert not check.passed and check.found == "wrong MD5: Basset/official" and check.fix == f"remove {file}"
    monkeypatch.setenv("REGZOO_HOME", "/nowhere")
    assert not _official().passed


# The hub.

COMMIT = "c0ffee" + "0" * 34
NT_CONFIG = FACTS["nt_v2"]["config"] | {"model_type": "esm"}
DNABERT_CONFIG = BERT | {"vocab_size": 4**6 + 5}


@pytest.fixture(scope="module")
def bpe(tmp_path_factory):
    """A tokenizer of as many tokens as DNABERT-2's, 4,096."""
    path = tmp_path_factory.mktemp("bpe") / "tokenizer.json"
    train_bpe(list(np.random.default_rng(0).integers(0, 4, (300, 400), dtype=np.uint8)), path, vocabulary=4096)
    return path.read_bytes()


@pytest.fixture
def hub(monkeypatch):
    """A server in the hub's place."""
    from huggingface_hub import constants, file_download

    with running(Site()) as server:
        address = f"http://127.0.0.1:{server.server_address[1]}"
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(file_download.time, "sleep", lambda seconds: None)
        yield server


def publish(hub, repository, **files):
    """Serve a repository as the hub does: its description with digests, and its files at one commit."""
    siblings = []
    for name, content in files.items():
        sha256, blob = hashlib.sha256(content), hashlib.sha1(b"blob %d\0" % len(content) + content)
        entry = {"rfilename": name, "size": len(content), "blobId": blob.hexdigest()}
        digest = blob.hexdigest()
        if name in ("model.safetensors", "pytorch_model.bin"):
            digest = sha256.hexdigest()
            entry["lfs"] = {"sha256": digest, "size": len(content), "pointerSize": 134}
        siblings.append(entry)
        path = f"/{repository}/resolve/{COMMIT}/{name}"
        hub.files[path] = content
        hub.headers[path] = {"ETag": f'"{digest}"', "X-Repo-Commit": COMMIT}
    content = json.dumps({"id": repository, "sha": COMMIT, "siblings": siblings}).encode()
    hub.files[f"/api/models/{repository}/revision/main"] = content
    return f"/{repository}/resolve/{COMMIT}/"


def publish_dnabert2(hub, bpe):
    weights = (GOLDEN / FACTS["dnabert2"]["weights"]).read_bytes()
    config = json.dumps(FACTS["dnabert2"]["config"]).encode()
    files = {"config.json": config, "tokenizer.json": bpe, "model.safetensors": weights, "bert_layers.py": b"raise 1"}
    return publish(hub, "zhihan1996/DNABERT-2-117M", **files)


def publish_nt(hub):
    vocabulary = "\n".join(SixMers(2).vocabulary).encode()
    weights = (GOLDEN / FACTS["nt_v2"]["weights"]).read_bytes()
    config = json.dumps(NT_CONFIG).encode()
    files = {"config.json": config, "vocab.txt": vocabulary, "model.safetensors": weights}
    return publish(hub, "InstaDeepAI/nucleotide-transformer-v2-50m-multi-species", **files)


def golden_outputs(lm, name):
    ids, mask = (torch.from_numpy(OUTPUTS[f"{name}/{key}"]) for key in ("input_ids", "attention_mask"))
    with torch.inference_mode():
        return lm.net(ids, mask.bool())[..., :64].numpy(), OUTPUTS[f"{name}/logits_first64"], mask.bool().numpy()


def test_dnabert2_of_the_hub_gives_the_authors_outputs(hub, bpe, tmp_path):
    publish_dnabert2(hub, bpe)
    found, expected, mask = golden_outputs(load_pretrained("zhihan1996/DNABERT-2-117M"), "dnabert2")
    np.testing.assert_allclose(found[mask], expected[mask], atol=2e-5)
    assert cached(tmp_path) == ["config.json", "model.safetensors", "source.json", "tokenizer.json"]  # no code


def test_the_nucleotide_transformer_of_the_hub_gives_the_authors_outputs(hub, tmp_path):
    publish_nt(hub)
    name = "InstaDeepAI/nucleotide-transformer-v2-50m-multi-species"
    found, expected, mask = golden_outputs(load_pretrained(name), "nt_v2")
    np.testing.assert_allclose(found[mask], expected[mask], atol=2e-5)
    output = tmp_path / "scores.tsv"
    done = CliRunner().invoke(app, ["zero-shot", str(VCF), "-f", str(FASTA), "-m", name, "-o", str(output)])
    assert done.exit_code == 0, done.exception
    assert (pd.read_csv(output, sep="\t").status == "scored").any()


def test_dnabert_of_the_hub_gives_the_outputs_of_transformers(hub, tmp_path):
    """A .bin checkpoint; the reference is Hugging Face's own class."""
    import transformers

    torch.manual_seed(0)
    theirs = transformers.BertForMaskedLM(transformers.BertConfig(**DNABERT_CONFIG)).eval()
    buffer = io.BytesIO()
    torch.save(theirs.state_dict(), buffer)
    vocabulary = "\n".join(OverlappingKmers(6).vocabulary).encode()
    files = {"config.json": json.dumps(DNABERT_CONFIG).encode(), "vocab.txt": vocabulary}
    publish(hub, "zhihan1996/DNA_bert_6", **files, **{"pytorch_model.bin": buffer.getvalue()})
    lm = load_pretrained("zhihan1996/DNA_bert_6")
    tokens = lm.tokenizer.encode([encode("ACGTTACGTACGAACGT"), encode("ACGTACGAT")])
    ids, mask = torch.from_numpy(tokens.ids), torch.from_numpy(tokens.mask)
    with torch.inference_mode():
        expected = theirs(input_ids=ids, attention_mask=mask.long()).logits
        np.testing.assert_allclose(lm.net(ids, mask)[mask], expected[mask], atol=1e-5)
    vectors = regzoo.embed("zhihan1996/DNA_bert_6", ["ACGTTACGTACGAACGT"])
    assert np.isfinite(vectors.select_dtypes("number")).all(axis=None)


def test_a_cut_download_from_the_hub_is_resumed(hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)
    path = publish_nt(hub) + "model.safetensors"
    hub.wrong[path] = "cut"
    load_pretrained("InstaDeepAI/nucleotide-transformer-v2-50m-multi-species")
    ranges = [asked for method, where, asked in hub.requests if (method, where) == ("GET", path)]
    assert ranges == [None, f"bytes={len(hub.files[path]) // 2 // 1000 * 1000}-"]


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("wrong", ["dead", "other bytes", 404, 500])
def test_a_hub_download_that_fails_leaves_nothing_and_is_repeated(wrong, file, hub, tmp_path):
    path, name = publish_nt(hub) + file, "InstaDeepAI/nucleotide-transformer-v2-50m-multi-species"
    right = hub.files[path]
    if wrong == "other bytes":
        hub.files[path] = right[:-1] + b"x"
    else:
        hub.wrong[path] = wrong
    for _ in range(2):
        with pytest.raises(ModelError, match=name) as error:
            load_pretrained(name)
        expected = "wrong checksum" if wrong == "other bytes" else f"put them at {tmp_path / 'cache' / 'hub'}"
        assert expected in str(error.value) and "\n" not in str(error.value)
        assert cached(tmp_path) == []
    hub.wrong.clear()
    hub.files[path] = right
    load_pretrained(name)
    before = len(hub.requests)
    load_pretrained(name)
    assert len(hub.requests) == before  # from the cache, without asking the hub


def test_the_hub_has_no_such_repository_or_cannot_be_reached(hub, monkeypatch, tmp_path):
    with pytest.raises(ModelError, match="owner/none: cannot download revision main .*RepositoryNotFoundError"):
        load_pretrained("owner/none")
    hub.shutdown()
    hub.socket.close()
    with pytest.raises(ModelError, match="owner/none: cannot download revision main .*put them at"):
        load_pretrained("owner/none")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="owner/none: cannot download .*offline"):
        load_pretrained("owner/none")
    assert cached(tmp_path) == []


@pytest.mark.parametrize("room", [10, 2000])
def test_a_full_disk_during_a_hub_download_is_told(room, hub, tmp_path):
    publish_nt(hub)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        with pytest.raises(OutputError, match="cannot write .*free some space"):
            load_pretrained("InstaDeepAI/nucleotide-transformer-v2-50m-multi-species")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert cached(tmp_path) == []
