"""Several virtual devices, and Keras on JAX: both are chosen before either is imported."""

import os

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_NUM_CPU_DEVICES"] = "4"
os.environ["KERAS_BACKEND"] = "jax"
os.environ["CI"] = "true"  # plain progress lines, whoever runs the tests

import hypothesis

hypothesis.settings.register_profile(
    "jbn", deadline=None, derandomize=True, max_examples=25, print_blob=True
)
hypothesis.settings.load_profile("jbn")
