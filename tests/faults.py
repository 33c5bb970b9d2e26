"""Plants faults in jbn, one at a time, and says which of them the tests catch.

    python tests/faults.py
    python tests/faults.py --list
    python tests/faults.py --only momentum_swapped,missing_psum

Each fault gets a copy of the working tree of its own. A fault is caught if a test fails there that
passes where nothing is planted. Code that can't be imported proves nothing, and neither does a name
or a type that is wrong: that is an error.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

TIMEOUT = 600  # seconds, for the tests of one fault
_NO_PROOF = re.compile(r"^E +(NameError|\S*BeartypeCallHint)", re.MULTILINE)  # no test judged it
_FAILED = re.compile(r"^(?:FAILED|ERROR) (tests/\S+::.*?)(?: - .*)?$", re.MULTILINE)


class Fault(NamedTuple):
    """A piece of text that stands once in a file of jbn/, and what a mistake would make of it."""

    name: str
    file: str  # below jbn/
    old: str
    new: str
    tests: Sequence[str]  # files or folders below tests/


class Outcome(NamedTuple):
    """What came of running tests."""

    code: int | None  # pytest's exit code; None where it gave none
    output: str
    failed: Sequence[str] = ()  # tests, by their ids

    @property
    def verdict(self) -> str:
        """What the tests say of a fault."""
        if self.code == 0:
            return "MISSED"
        # With -x the code is 1 where a file can't be imported, too; then no test is named.
        is_caught = self.code == 1 and self.failed and not _NO_PROOF.search(self.output)
        return "caught" if is_caught else "ERROR"


# fmt: off
FAULTS = [
    # functional: moments
    Fault("variance_by_n_minus_1", "functional/_shifted.py",
          "d2_sum / n - squared(offset)",
          "(d2_sum / n - squared(offset)) * n / jnp.where(n > 1, n - 1, 1)",
          ["functional/test_stats.py"]),
    Fault("plain_variance", "functional/_shifted.py",
          "shift = as_shift(sample_sum / max(num_sampled, 1))",
          "shift = jnp.zeros_like(sample_sum)",
          ["functional/test_stats.py"]),
    Fault("16_bit_statistics_taken", "functional/_stats.py",
          "if value.dtype.itemsize == 2:", "if False:", ["functional/test_state_laws.py"]),
    Fault("modules_keep_16_bits", "_layers.py",
          "if not use_running_average:\n        mean, var = (", "if False:\n        mean, var = (",
          ["linen/test_batch.py", "nnx/test_nnx_batch.py"]),
    Fault("inputs_not_in_units", "functional/_input_stats.py",
          "exponent = exponent_of_2(minus_min, max)", "exponent = exponent_of_2(0 * max)",
          ["functional/test_input.py"]),
    Fault("sample_across_shards", "functional/_shifted.py",
          "if num_shards > 1:", "if False:", ["test_meshes.py"]),
    Fault("groups_across_devices", "functional/_arguments.py",
          "if mesh_axis is not None and num_groups % num_shards:", "if False:", ["test_meshes.py"]),
    Fault("select_of_one_sharding", "functional/_mask.py",
          "return jnp.where(condition & (zero == 0), a + zero, b + zero)",
          "return jnp.where(condition, a, b)", ["test_meshes.py"]),
    Fault("unrounded_shift", "functional/_shifted.py",
          "return lax.reduce_precision(near_mean, finfo.nexp, finfo.nmant - 1)",
          "return near_mean", ["functional"]),
    Fault("centered_once", "functional/_by_moments.py",
          "    d = d - jnp.mean(d, reduction_axes, keepdims=True)\n", "",
          ["functional/test_rows.py"]),
    Fault("rows_not_at_the_end", "functional/_by_moments.py",
          "tuple(sorted(reduction_axes)) == tuple(range(first, x.ndim))", "True",
          ["functional/test_rows.py"]),
    Fault("hidden_overflow", "functional/_shifted.py",
          "lax.rsqrt(lax.rem(var + epsilon, jnp.finfo(var.dtype).max))", "lax.rsqrt(var + epsilon)",
          ["functional"]),
    Fault("blocks_lose_what_is_between_them", "functional/_blocks.py",
          "delta = (center - shift) + offset\n        delta_sum, total, shift",
          "delta = offset\n        delta_sum, total, shift",
          ["functional/test_blocks.py"]),
    Fault("blocks_around_their_first_entries", "functional/_blocks.py",
          "spread = d2_sum - offset * d_sum", "spread = d2_sum",
          ["functional/test_blocks.py"]),
    Fault("blocks_across_shards", "functional/_blocks.py",
          "if any(max_num_shards(x, axis) > 1", "if False and any(max_num_shards(x, axis) > 1",
          ["functional/test_blocks.py"]),
    Fault("unweighted_second_sum", "functional/_shifted.py",
          "[weighted(d, mask), weighted(squared(d), mask)]", "[weighted(d, mask), squared(d)]",
          ["functional/test_stats.py"]),
    Fault("missing_psum", "functional/_shifted.py",
          "d_sum, d2_sum = named_axis.sum([_sum(term, reduction_axes) for term in terms])",
          "d_sum, d2_sum = (_sum(term, reduction_axes) for term in terms)",
          ["functional/test_sharding.py"]),
    Fault("count_of_one_shard", "functional/_shifted.py",
          "count, x_sum = named_axis.sum([count, x_sum])", "(x_sum,) = named_axis.sum([x_sum])",
          ["functional/test_sharding.py"]),
    Fault("index_groups_ignored", "functional/_arguments.py",
          "tuple(lax.psum(jnp.stack(terms), self.name, axis_index_groups=self.index_groups))",
          "tuple(lax.psum(jnp.stack(terms), self.name))", ["functional/test_sharding.py"]),
    Fault("means_not_merged", "functional/_moments.py",
          "jnp.sum(weights * (var + between), 0)", "jnp.sum(weights * var, 0)",
          ["functional/test_stats_algebra.py"]),
    Fault("float32_not_the_least", "functional/_arguments.py",
          "[np.dtype(d) for d in dtypes], np.dtype(np.float32))", "[np.dtype(d) for d in dtypes])",
          ["functional/test_stats.py", "functional/test_laws.py"]),
    # functional: normalization by moments
    Fault("epsilon_outside_the_root", "functional/_by_moments.py",
          "factor = inverse_std(moments.var, epsilon).astype(x.dtype) * scale",
          "factor = (1 / (jnp.sqrt(moments.var) + epsilon)).astype(x.dtype) * scale",
          ["functional/test_laws.py"]),
    Fault("epsilon_outside_the_root_in_evaluation", "functional/_normalize.py",
          "lax.rsqrt(var.astype(real) + jnp.asarray(epsilon, real))",
          "(1 / (jnp.sqrt(var.astype(real)) + jnp.asarray(epsilon, real)))",
          ["functional/test_stats.py", "functional/test_state_laws.py"]),
    Fault("mean_of_one_number", "functional/_by_moments.py", "return moments.shift, moments.offset",
          "return moments.shift + moments.offset, jnp.zeros_like(moments.offset)",
          ["functional/test_laws.py"]),
    Fault("differential_without_the_mean", "functional/_by_moments.py",
          "+ (dbias - k * m)", "+ dbias", ["functional/test_laws.py"]),
    Fault("differential_of_one_shard", "functional/_by_moments.py",
          "sums = named_axis.sum([jnp.sum(term, reduction_axes, keepdims=True) for term in terms])",
          "sums = [jnp.sum(term, reduction_axes, keepdims=True) for term in terms]",
          ["functional/test_sharding.py"]),
    Fault("rms_differential_of_one_shard", "functional/_layer.py",
          "(total,) = named_axis.sum([products])", "total = products",
          ["functional/test_hidden.py"]),
    Fault("differential_summed_in_16_bits", "functional/_by_moments.py",
          "[counted, counted * jnp.conj(x_hat)]",
          "[counted, (counted * jnp.conj(x_hat)).astype(dtype).astype(x.dtype)]",
          ["functional/test_laws.py"]),
    Fault("more_than_x_kept", "functional/_by_moments.py",
          "differential = jax.checkpoint(", "differential = (lambda function, **_: function)(",
          ["functional/test_transforms.py"]),
    Fault("more_than_x_kept_in_evaluation", "functional/_batch.py",
          "jax.checkpoint(_normalize_by_running, prevent_cse=False, static_argnums=7)",
          "_normalize_by_running", ["functional/test_transforms.py"]),
    Fault("layer_norm_over_features", "functional/_layer.py",
          "normalize_rows(*arguments, axes, named_axis, dtype)",
          "normalize_rows(*arguments, features, named_axis, dtype)",
          ["functional/test_hidden.py"]),
    Fault("layer_norm_scale_of_reduced_axes", "functional/_layer.py",
          "*arguments, dtype = layer_arguments(x, scale, bias, features,",
          "*arguments, dtype = layer_arguments(x, scale, bias, axes,",
          ["functional/test_hidden.py"]),
    Fault("rms_summed_in_16_bits", "functional/_layer.py",
          "weighted(squared(x), mask), reduction_axes, keepdims=True)",
          "weighted(squared(x), mask), reduction_axes, dtype, keepdims=True).astype(x.dtype)",
          ["functional/test_hidden.py", "functional/test_laws.py"]),
    Fault("group_of_every_kth_channel", "functional/_group.py", "| {axis + 1}", "| {axis}",
          ["functional/test_hidden.py"]),
    Fault("instance_norm_over_the_batch", "functional/_group.py",
          "tuple(a for a in others if a != 0)", "others", ["functional/test_hidden.py"]),
    # functional: running statistics and siblings of batch norm
    Fault("momentum_swapped", "functional/_stats.py",
          "for w in (momentum, 1 - momentum))", "for w in (1 - momentum, momentum))",
          ["functional/test_stats.py"]),
    Fault("bad_batch_let_in", "functional/_stats.py",
          "select(valid, moved.astype(old.dtype), old)",
          "moved.astype(old.dtype)", ["functional/test_stats.py"]),
    Fault("one_entry_is_a_batch", "functional/_stats.py",
          "return (moments.count >= 2)", "return (moments.count >= 1)",
          ["functional/test_stats.py"]),
    Fault("warm_up_remembers_the_start", "functional/_stats.py",
          "jnp.asarray(momentum, jnp.float32), step / (step + 1))",
          "jnp.asarray(momentum, jnp.float32), (step + 1) / (step + 2))",
          ["functional/test_stats_algebra.py"]),
    Fault("ghost_groups_of_another_axis", "functional/_ghost.py",
          "batch_axis = reduction_axes[0]", "batch_axis = reduction_axes[-1]",
          ["functional/test_ghost.py"]),
    Fault("renorm_limits_differentiated", "functional/_renorm.py",
          "moments(lax.stop_gradient(x), reduction_axes", "moments(x, reduction_axes",
          ["functional/test_siblings.py"]),
    Fault("renorm_r_and_d_swapped", "functional/_renorm.py",
          "scale * r, scale * d + bias", "scale * d, scale * r + bias",
          ["functional/test_siblings.py"]),
    Fault("row_of_the_next_domain", "functional/_domain.py",
          "return select(in_domain(rows), jnp.expand_dims(new, 0), rows)",
          "return select(jnp.roll(in_domain(rows), 1, 0), jnp.expand_dims(new, 0), rows)",
          ["functional/test_siblings.py"]),
    # functional: inputs
    Fault("count_loses_its_remainder", "functional/_input_stats.py",
          "_add(a.count, a.remainders.count, b.count, b.remainders.count)",
          "_add(a.count, 0 * a.count, b.count, 0 * b.count)", ["functional/test_input.py"]),
    Fault("mean_loses_its_remainder", "functional/_input_stats.py",
          "_add(a_mean, a_mean_remainder, w * delta, 0)", "_add(a_mean, 0 * a_mean, w * delta, 0)",
          ["functional/test_input.py"]),
    # Flax's modules, variables, conversion, export
    Fault("init_moves_the_statistics", "linen/_variables.py",
          "if not use_running_average and not initializing:", "if not use_running_average:",
          ["linen/test_batch.py"]),
    Fault("nnx_statistics_differentiated", "nnx/_variables.py",
          "mean, var = lax.stop_gradient(stats)", "mean, var = stats",
          ["nnx", "test_peers.py", "models/test_mlp.py", "variables"]),
    Fault("folding_forgets_the_bias", "variables/_fold.py",
          "kernel * k.reshape(along), bias * k + c", "kernel * k.reshape(along), c",
          ["variables/test_fold.py"]),
    Fault("mean_of_variances", "variables/_recompute.py",
          "{layer: merge_shifted_moments(moments) for",
          "{layer: merge_shifted_moments(moments)._replace(var=moments.var.mean(0)) for",
          ["variables/test_recompute.py"]),
    Fault("biases_decay", "variables/_masks.py",
          '("scale", "bias", "gain")', '("scale", "gain")', ["variables/test_masks_and_swap.py"]),
    Fault("pytorchs_variance_unbiased", "convert/_pytorch.py",
          '["var"] * ((n - 1) / n)', '["var"]', ["convert/test_pytorch.py"]),
    Fault("kerass_epsilon_lost", "convert/_arguments.py",
          "epsilon: float = 1e-3,", "epsilon: float = 1e-5,", ["convert/test_keras.py"]),
    Fault("export_of_one_batch_size", "export.py",
          '("batch", *example.shape[1:])', "example.shape", ["test_export.py"]),
    Fault("gap_in_running_deviations", "diagnose.py",
          "jnp.abs(mean - old_mean) / std)",
          "jnp.abs(mean - old_mean) / jnp.sqrt(old_var + epsilon))", ["test_diagnose.py"]),
    # data, models, training
    Fault("inputs_fit_to_all_splits", "data/dataset.py",
          "fit(train.x)", "fit(x)", ["data"]),
    Fault("label_of_another_column", "data/sources/csv.py",
          "as_labels(path, y[:, 0], at)", "as_labels(path, table[:, -2], at)",
          ["data/sources/test_csv.py"]),
    Fault("npz_test_labels_first", "data/sources/npz.py",
          "np.concatenate([y, y_test])", "np.concatenate([y_test, y])",
          ["data/sources/test_npz.py"]),
    Fault("noise_on_every_label", "data/batches.py",
          "uniform < share", "uniform <= 2 * share", ["data/test_batches.py"]),
    Fault("noise_of_the_place_in_the_batch", "data/batches.py",
          "jax.vmap(bits, out_axes=1)(rows)", "jax.vmap(bits, out_axes=1)(jnp.arange(len(rows)))",
          ["data/test_batches.py"]),
    Fault("fillers_counted", "data/batches.py",
          "weight = np.arange(num_batches * size) < num_examples",
          "weight = np.arange(num_batches * size) <= num_examples", ["data/test_batches.py"]),
    Fault("images_upside_down", "data/augment.py",
          "x[:, :, ::-1]", "x[:, ::-1]", ["data/test_augment.py"]),
    Fault("kernel_not_turned_around", "models/convolution.py",
          "kernel[::-1, ::-1].transpose", "kernel.transpose", ["models/test_convolution.py"]),
    Fault("seed_not_in_the_key", "train/lanes.py",
          "jax.random.key(seed)", "jax.random.key(0)", ["train/test_lanes.py"]),
    Fault("every_epoch_in_one_order", "train/loop.py",
          "state.step // task.num_batches)", "0)", ["train/test_training_laws.py"]),
    Fault("noise_forgotten", "train/loop.py",
          "x[rows], targets[rows], weight_of", "x[rows], jnp.asarray(train.y)[rows], weight_of",
          ["train/test_options.py"]),
    Fault("first_step_of_the_epoch_forgotten", "train/loop.py",
          "first_step + is_finite.argmin()", "is_finite.argmin()", ["train/test_lanes.py"]),
    Fault("last_batch_dropped", "train/loop.py",
          "return [(rows[..., :-1, :], True), (last, not task.takes_mask)]",
          "return [(rows[..., :-1, :], True)]", ["train/test_training_laws.py"]),
    Fault("fillers_in_the_statistics", "train/task.py",
          '{} if batch.weight is None else {"mask": batch.weight > 0}', "{}",
          ["train/test_training_laws.py"]),
    Fault("fillers_in_the_loss", "train/metrics.py",
          "jnp.where(of_each > 0, values * of_each, 0).sum(0)", "values.sum(0)",
          ["train/test_training_laws.py"]),
    Fault("one_dropout_for_all_steps", "train/task.py",
          "jax.random.fold_in(keys.dropout, state.step)\n        # Aug",
          "keys.dropout\n        # Aug", ["train/test_training_laws.py"]),
    Fault("warm_up_begins_at_0", "train/optimizer.py",
          "1 / (config.warmup_steps + 1), 1.0", "0.0, 1.0", ["train/test_optimizer.py"]),
    Fault("schedule_counts_batches", "train/optimizer.py",
          "num_steps // config.accumulate", "num_steps", ["train/test_optimizer.py"]),
    Fault("accumulate_without_effect", "train/optimizer.py",
          "config.accumulate > 1:", "config.accumulate < 1:", ["train/test_optimizer.py"]),
    # config, run, report
    Fault("misspelt_key_accepted", "config/schema.py",
          'extra="forbid"', 'extra="ignore"', ["config/test_config.py"]),
    Fault("last_value_of_linspace_lost", "config/sweep.py",
          "function(first, last, number)", "function(first, last, number, endpoint=False)",
          ["config/test_axes.py"]),
    Fault("first_key_fastest", "config/sweep.py",
          "itertools.product(*sweep.axes.values())",
          "(v[::-1] for v in itertools.product(*reversed(sweep.axes.values())))",
          ["config/test_axes.py"]),
    Fault("seeds_off_by_one", "config/plan.py",
          "range(config.seed, config.seed + config.num_seeds)",
          "range(config.seed + 1, config.seed + config.num_seeds + 1)", ["config/test_plan.py"]),
    Fault("extension_numbered_among_all", "config/plan.py",
          "itertools.pairwise([0, *seed_counts, config.num_seeds])",
          "itertools.pairwise([0, config.num_seeds])", ["config/test_plan.py"]),
    Fault("groups_of_old_and_new_seeds", "config/plan.py",
          "if trial.extension == extension]", "if extension == 0]", ["config/test_plan.py"]),
    Fault("swept_key_told_of_the_arms", "config/compare.py",
          "if key not in swept", "if True", ["config/test_compare.py"]),
    Fault("fewer_epochs_extend", "config/compare.py",
          "longer.get(arm, 0) >= number", "True", ["config/test_compare.py"]),
    Fault("shorter_trainings_are_done", "store/read.py",
          "if part >= since[arm]", "if True", ["run/test_extend.py"]),
    Fault("extended_run_still_finished", "store/earlier.py",
          "(out / name).unlink(missing_ok=True)", "pass", ["run/test_extend.py"]),
    Fault("earlier_summary_lost", "store/earlier.py",
          "if (out / SUMMARY).exists() or not kept.exists():", "if True:",
          ["run/test_extend.py"]),
    Fault("schedule_of_another_length", "train/parts.py",
          'if config.optimizer.schedule != "constant":', "if False:", ["run/test_extend.py"]),
    # parts of a user's own
    Fault("nnx_in_evaluation_mode", "models/nnx_model.py",
          "model.train() if train else model.eval()", "model.eval()",
          ["train/test_own_parts.py"]),
    Fault("nnx_dropout_by_one_key", "models/nnx_model.py",
          '"dropout": jax.random.key(0), **(rngs or {})}',
          '**(rngs or {}), "dropout": jax.random.key(0)}', ["train/test_own_parts.py"]),
    Fault("nnx_variables_left_as_drawn", "models/nnx_model.py",
          "_put(model, variables)\n        model.train()", "model.train()",
          ["train/test_own_parts.py"]),
    Fault("frozen_linen_norm_by_the_batch", "models/linen_model.py",
          "if not self.freeze:", "if True:", ["train/test_own_parts.py"]),
    Fault("frozen_nnx_norm_by_the_batch", "models/nnx_model.py",
          "freeze_norm(layer)", "pass", ["train/test_own_parts.py"]),
    Fault("frozen_parameters_decay", "train/optimizer.py",
          "jnp.where(off, 0, u)", "u", ["train/test_own_parts.py"]),
    Fault("frozen_gradient_counts", "train/task.py",
          "jax.lax.stop_gradient(param) if is_frozen", "param if is_frozen",
          ["train/test_own_parts.py"]),
    Fault("own_optimizer_of_one_vector", "train/optimizer.py",
          "_of_trees(optimizer, params) if parts.optimizer", "optax.flatten(optimizer) if True",
          ["train/test_own_parts.py"]),
    Fault("own_schedule_forgotten", "train/optimizer.py",
          "or parts.schedule is not None:", "or False:", ["train/test_own_parts.py"]),
    Fault("fresh_weights_taken", "train/weights.py",
          "if is_matched(path[1:], config.init_fresh):", "if False:",
          ["train/test_own_parts.py"]),
    Fault("balance_over_absent_classes", "train/loss.py",
          "recall.sum(-1) / has_examples.sum(-1)", "recall.mean(-1)", ["train/test_loss.py"]),
    Fault("class_weights_of_the_prediction", "train/loss.py",
          "losses * weights[labels]", "losses * weights[logits.argmax(-1)]",
          ["train/test_loss.py"]),
    Fault("r2_around_zero", "train/loss.py",
          'means["target_squared"] - jnp.square(means["target"])', 'means["target_squared"]',
          ["train/test_loss.py"]),
    Fault("rmse_of_standardized_targets", "train/loss.py",
          "(units * jnp.sqrt(squared_error))", "jnp.sqrt(squared_error)", ["train/test_loss.py"]),
    Fault("targets_standardized_on_all_rows", "data/dataset.py",
          "_target_stats(y[rows[0]], where)", "_target_stats(y, where)",
          ["data/test_targets.py"]),
    Fault("predictions_left_standardized", "trained.py",
          "* std + mean", "* 1.0", ["run/test_own_runs.py"]),
    Fault("kept_source_executed", "trained.py",
          "    if trust_source:", "    if True:", ["run/test_own_runs.py"]),
    Fault("highest_error_is_best", "summary.py",
          "(1 if rises else -1)", "1", ["test_summary.py"]),
    Fault("another_splits_weights", "run/compiler.py",
          'if config.loss.class_weights != "balanced":', "if True:", ["run/test_kept.py"]),
    Fault("each_split_compiles", "run/compiler.py",
          "data = DataConfig(augment=config.data.augment)", "data = config.data",
          ["run/test_kept.py"]),
    Fault("a_users_model_is_compiled_for_each_split", "run/compiler.py",
          "self._asked.add((key, *parts))", "pass", ["run/test_kept.py"]),
    Fault("blank_lines_of_gloo", "native_output.py",
          " or (is_gloo and _END_OF_GLOO.fullmatch(line))", "", ["run/test_several_processes.py"]),
    Fault("kept_program_of_other_code", "run/kept.py",
          "_digest_of_source(),", "", ["run/test_kept.py"]),
    Fault("lanes_that_fill_up_recorded", "run/engine.py",
          "np.asarray(values)[: len(trials)]", "np.asarray(values)[-len(trials) :]",
          ["run/test_engine.py"]),
    Fault("groups_of_what_is_left", "config/plan.py",
          "tuple(trials[first : first + size])", "tuple(trials[first : first + size + 1])",
          ["config/test_plan.py", "run/test_engine.py"]),
    Fault("halved_lanes_forgotten", "run/engine.py",
          "split_evenly(group.size, most)), *lanes]", "split_evenly(group.size, most))]",
          ["run/test_engine.py"]),
    Fault("metrics_of_a_turn_that_did_not_fit_kept", "run/saving.py",
          "self._folder.rewind(trials, 0 if", "(lambda *_: None)(trials, 0 if",
          ["run/test_run.py"]),
    Fault("metrics_of_a_stopped_turn_kept", "store/folder.py",
          'keep_until(self.path / METRICS, numbers, "epoch", epoch)', "pass", ["run/test_run.py"]),
    Fault("damaged_checkpoint_taken", "store/checkpoints.py",
          'content.get("files") != _digests(path)', "False", ["store/test_checkpoints.py"]),
    Fault("half_a_checkpoint_taken", "store/checkpoints.py",
          'path.stem for path in folder.glob("*.json") if path.stem.isascii()',
          'path.stem for path in folder.glob("*") if path.is_dir()',
          ["store/test_checkpoints.py"]),
    Fault("checkpoint_of_another_training_taken", "store/checkpoints.py",
          'content.get("identity") != _digest(identity.encode())', "False",
          ["store/test_checkpoints.py"]),
    Fault("last_but_one_removed_first", "store/checkpoints.py",
          "whole[here + self._keep :]:", "whole[here + 1 :]:",
          ["store/test_checkpoints.py"]),
    Fault("steps_of_the_epoch_not_saved", "run/saving.py",
          "if turn.steps is not None:", "if False:", ["run/test_saving.py"]),
    Fault("diverged_step_not_saved", "run/saving.py",
          'np.asarray(progress["diverged_step"])', "first.diverged_step",
          ["run/test_saving.py"]),
    Fault("interval_from_the_beginning", "run/saving.py",
          "self._last = time.monotonic(), event.num_steps, turn.epoch", "pass",
          ["run/test_saving.py"]),
    Fault("best_epoch_is_the_last", "run/engine.py",
          "np.isfinite(metric) & ~(metric <= best.metric)", "np.isfinite(metric)",
          ["run/test_saving.py"]),
    Fault("what_diverged_saved", "run/saving.py",
          "if (turn.diverged_step >= 0).all():", "if False:", ["run/test_saving.py"]),
    Fault("told_to_end_and_goes_on", "run/saving.py",
          "if number or is_due or", "if is_due or",
          ["run/test_saving.py"]),
    Fault("leaving_waits_for_xla", "run/stop.py",
          "if self.is_training:", "if True:", ["run/test_stop.py"]),
    Fault("torn_line_is_a_row", "store/table.py",
          'text[: text.rfind(b"\\n") + 1]', "text", ["store/test_table.py"]),
    Fault("other_data_go_on", "store/folder.py",
          "if _has_results(out) and read_parts", "if False and read_parts",
          ["run/test_run.py"]),
    Fault("other_data_go_on_from_a_checkpoint", "store/folder.py",
          "return bool(all_trials(out)) or", "return bool(all_trials(out)) and",
          ["run/test_saving.py"]),
    Fault("later_checkpoints_push_new_ones_out", "store/checkpoints.py",
          "whole[:here] + whole[here + self._keep :]", "whole[self._keep :]",
          ["store/test_checkpoints.py"]),
    Fault("less_memory_loses_what_was_saved", "run/saving.py",
          "if was_saved:", "if False:", ["run/test_saving.py"]),
    Fault("older_layout_taken_for_a_run", "store/read.py",
          "if found != FORMAT:", "if False:", ["store/test_folder.py"]),
    Fault("stale_lock_obeyed", "store/lock.py",
          "if found and not is_of_here:", "if found:", ["store/test_lock.py"]),
    Fault("lock_of_another_machine_ignored", "store/lock.py",
          "if seconds < _GONE:", "if False:", ["store/test_lock.py"]),
    Fault("lock_of_a_machine_that_is_gone_obeyed", "store/lock.py",
          "if seconds < _GONE:", "if True:", ["store/test_lock.py"]),
    Fault("removed_lock_held", "store/lock.py",
          "if is_mine and not _is_at(file, path):", "if False:", ["store/test_lock.py"]),
    Fault("parts_merged_of_other_data", "store/merge.py",
          "_data(other) == _data(first)", "True", ["run/test_shares.py"]),
    Fault("other_results_merged", "store/merge.py",
          "if earlier != result:", "if False:", ["run/test_shares.py"]),
    Fault("parts_of_merged_rows_mixed_up", "store/merge.py",
          "str(parts.index(part)) for part", "str(0) for part", ["run/test_shares.py"]),
    Fault("part_that_lives_taken_over", "run/shares.py",
          "and not store.in_use(path)", "", ["run/test_shares.py"]),
    Fault("part_that_died_left", "run/shares.py",
          "if (one == share or is_left)", "if (one == share)", ["run/test_shares.py"]),
    Fault("folder_written_without_its_lock", "store/folder.py",
          "self._lock.check()", "pass", ["store/test_folder.py"]),
    Fault("summary_without_diverged_seeds", "summary.py",
          "finite(np.mean(per_seed))", "finite(np.nanmean(per_seed))",
          ["test_summary.py"]),
    Fault("report_hides_diverged_runs", "report/results.py",
          "Cells(mean, std, results.has_diverged.sum(-1))",
          "Cells(mean, std, 0 * results.has_diverged.sum(-1))", ["test_report_sweep.py"]),
    Fault("crosses_where_nothing_diverged", "report/lines.py",
          "num_diverged > 0", "num_diverged < 0", ["test_report_figures.py"]),
    Fault("average_not_evaluated", "train/task.py",
          "params = state.params if self.config.train.ema_decay is None else state.average",
          "params = state.params", ["train/test_options.py"]),
    Fault("best_epoch_of_the_first_lane", "run/engine.py",
          "~(metric <= best.metric)", "~(metric <= best.metric)[[0] * len(metric)]",
          ["run/test_saving.py"]),
]
# fmt: on


def main() -> int:
    """Exit code 1 where a fault is missed, or says nothing."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", metavar="NAME[,NAME]", help="these faults, rather than all")
    parser.add_argument("--list", action="store_true", help="name the faults, and plant none")
    parser.add_argument("--repo", type=Path, default=Path(__file__).resolve().parents[1])
    options = parser.parse_args()
    names = options.only.split(",") if options.only else [fault.name for fault in FAULTS]
    if unknown := set(names) - {fault.name for fault in FAULTS}:
        parser.error(f"--only: found {', '.join(sorted(unknown))}, wanted names that --list prints")
    faults = [fault for fault in FAULTS if fault.name in names]
    if options.list:
        for fault in faults:
            print(f"{fault.name:<40} jbn/{fault.file}")
        return 0

    is_good = True
    catchers: dict[str, str] = {}  # test -> the fault that it caught first
    for fault in faults:
        clock = time.perf_counter()
        outcome = try_fault(options.repo, fault)
        seconds = time.perf_counter() - clock
        by = outcome.failed[0] if outcome.verdict == "caught" else ""
        print(f"{fault.name:<40} {outcome.verdict:<6} {seconds:5.0f} s  {by}", flush=True)
        if outcome.verdict == "caught":
            catchers.setdefault(by, fault.name)
        else:
            is_good = False
        if outcome.verdict == "ERROR":
            print(outcome.output)
    if catchers:
        with tempfile.TemporaryDirectory(prefix="faults-") as folder:
            copy = copy_tree(options.repo, Path(folder))
            outcome = run_tests(copy, list(catchers), "--tb=short")
        if outcome.code == 0:
            print(f"without a fault all {len(catchers)} tests that caught one pass")
        for test in outcome.failed:
            print(f"{catchers.get(test)}: not caught, for {test} fails without a fault, too")
        if outcome.verdict == "ERROR":
            print(outcome.output)
        is_good &= outcome.code == 0
    return 0 if is_good else 1


def try_fault(repo: Path, fault: Fault) -> Outcome:
    """Plants the fault in a copy of the repository and runs its tests there."""
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        copy = copy_tree(repo, Path(folder))
        path = copy / "jbn" / fault.file
        if not path.is_file():
            return Outcome(None, f"no file jbn/{fault.file}")
        text = path.read_text(encoding="utf-8")
        if (times := text.count(fault.old)) != 1:
            return Outcome(None, f"jbn/{fault.file} has {times} times: {fault.old}")
        planted = text.replace(fault.old, fault.new)
        try:
            compile(planted, fault.file, "exec")
        except SyntaxError as error:
            return Outcome(None, str(error))
        path.write_text(planted, encoding="utf-8")
        tests = [f"tests/{name}" for name in fault.tests]
        return run_tests(copy, tests, "-x")


def copy_tree(repo: Path, folder: Path) -> Path:
    """A copy of what git tracks or would add, as it stands in the working tree."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=repo, check=True, capture_output=True, text=True).stdout
    copy = folder / "repo"
    for name in filter(None, listed.split("\0")):
        if (repo / name).is_file():  # git lists what was deleted, too
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(repo / name, copy / name)
    return copy


def run_tests(copy: Path, tests: Sequence[str], *options: str) -> Outcome:
    """Runs these tests: compiled fast; then those marked `optimized`, and those marked `slow`."""
    outcome = run_pytest(copy, tests, *options)
    for mark, variable in {"optimized": "JBN_TEST_OPTIMIZED", "slow": "JBN_TEST_SLOW"}.items():
        if outcome.code in (0, 5):  # 5: it had no test to run
            outcome = run_pytest(copy, tests, *options, "-m", mark, **{variable: "1"})
    return outcome._replace(code=0) if outcome.code == 5 else outcome


def run_pytest(copy: Path, tests: Sequence[str], *options: str, **variables: str) -> Outcome:
    """Runs these tests on the copy's own jbn, with compiled programs of their own."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, *tests]
    private = {
        "PYTHONPATH": str(copy),
        "JAX_COMPILATION_CACHE_DIR": str(copy.parent / "programs"),
        "COLUMNS": "1000",  # a failed test's name in one line
        **variables,
    }
    with subprocess.Popen(
        command,
        cwd=copy,
        env=os.environ | private,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,
    ) as process:
        try:
            output, _ = process.communicate(timeout=TIMEOUT)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)  # what the tests started, too
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            return Outcome(None, f"the tests took more than {TIMEOUT} s")
    return Outcome(process.returncode, output, _FAILED.findall(output))


if __name__ == "__main__":
    sys.exit(main())
