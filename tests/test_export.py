"""A saved function says what the model said, without the model's code, for any batch."""

import functools
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from problems import close, normal

import jbn.linen
from jbn.config import ModelConfig, NormConfig
from jbn.export import load_function, save_function
from jbn.models import MLP, build_model
from jbn.variables import fold_batch_norm

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A file, the folded model's function, and the whole model's."""
    x = normal(8, 5)
    model, plain = MLP((6, 4), 3, jbn.linen.BatchNorm), MLP((6, 4), 3, None)
    variables = model.init(KEY, x, train=True)
    _, updates = model.apply(variables, x, train=True, mutable=["batch_stats"])
    variables = {**variables, **updates}
    evaluate = functools.partial(model.apply, train=False)
    evaluate_plain = functools.partial(plain.apply, train=False)
    folded = fold_batch_norm(evaluate, evaluate_plain, variables, x).variables
    path = tmp_path_factory.mktemp("exported") / "model.bin"
    save_function(path, lambda x: jax.nn.softmax(evaluate_plain(folded, x)), x)
    return path, lambda x: jax.nn.softmax(evaluate(variables, x))


@pytest.mark.parametrize("batch_size", [1, 8, 13])
def test_it_is_the_whole_models_for_any_batch_size(saved, batch_size):
    path, function = saved
    x = normal(batch_size, 5, seed=1)
    close(load_function(path)(x), function(x), 1e-5)


@pytest.mark.parametrize("kind", ["batch", "layer", "rms", "group"])
def test_a_model_with_norms_is_saved_too(tmp_path, kind):
    norm = NormConfig(kind=kind, num_groups=2)
    model = build_model(ModelConfig(hidden_sizes=(6,)), norm, 3, momentum=0.9, epsilon=1e-3)
    variables = model.init(KEY, normal(4, 5), train=True)
    evaluate = functools.partial(model.apply, variables, train=False)
    save_function(tmp_path / "a", evaluate, normal(4, 5))
    close(load_function(tmp_path / "a")(normal(7, 5)), evaluate(normal(7, 5)))


def test_what_a_loaded_run_predicts_is_saved_with_its_normalization(small_run, tmp_path):
    loaded = jbn.load_run(small_run)
    x = 8 + 4 * normal(5, 8, 8, 1)
    save_function(tmp_path / "run.bin", loaded.predict, x[:2])
    close(load_function(tmp_path / "run.bin")(x), loaded.predict(x))


def test_it_is_for_cpu_cuda_and_tpu(saved):
    exported = export.deserialize(bytearray(saved[0].read_bytes()))
    assert exported.platforms == ("cpu", "cuda", "tpu")
    assert str(exported.in_avals[0].shape[0]) == "batch"


def test_loading_needs_jax_alone(saved):
    path, function = saved
    code = (
        "import sys, jax.numpy as jnp; from jax import export\n"
        f"call = export.deserialize(bytearray(open({str(path)!r}, 'rb').read())).call\n"
        "print(*call(jnp.ones((2, 5))).ravel()); print('flax' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    numbers, has_flax = done.stdout.splitlines()
    close(np.float32(numbers.split()), np.ravel(function(jnp.ones((2, 5)))), 1e-5)
    assert has_flax == "False"


def test_what_can_not_be_saved_or_loaded_is_named(saved, tmp_path):
    with pytest.raises(ValueError, match="example: found a number, wanted an array"):
        save_function(tmp_path / "a", jnp.sin, jnp.ones(()))
    with pytest.raises(ValueError, match="platforms: found gpu, wanted some of cpu, cuda"):
        save_function(tmp_path / "a", jnp.sin, jnp.ones(3), platforms=["gpu"])
    (tmp_path / "b").write_bytes(saved[0].read_bytes()[:100])
    with pytest.raises(ValueError, match="path: found no exported function in"):
        load_function(tmp_path / "b")


def test_a_model_in_training_and_several_arrays_are_refused_in_words(tmp_path):
    model = MLP((4,), 3, jbn.linen.BatchNorm)
    x = normal(8, 5)
    variables = model.init(KEY, x, train=True)

    def train(x):
        return model.apply(variables, x, train=True, mutable=["batch_stats"])

    with pytest.raises(ValueError, match=r"depends on the size of the batch.*train=False"):
        save_function(tmp_path / "model.bin", train, x)
    with pytest.raises(TypeError, match="example: found a tuple, wanted one array"):
        save_function(tmp_path / "model.bin", train, (x, x))


def test_without_flatbuffers_an_error_says_what_to_install(saved, tmp_path, monkeypatch):
    path, _ = saved
    monkeypatch.setitem(sys.modules, "flatbuffers", None)
    with pytest.raises(ModuleNotFoundError) as error_of_load:
        load_function(path)
    with pytest.raises(ModuleNotFoundError) as error_of_save:
        save_function(tmp_path / "model.bin", jnp.sin, jnp.ones(2))
    for error in (error_of_load, error_of_save):
        assert error.value.__notes__[0].endswith("pip install 'jbn[export]'")
    assert not (tmp_path / "model.bin").exists()
