"""What a PAD model's configuration says of its partition, and that the model is what it says."""

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.configuration_utils import PreTrainedConfig

from padnet_hf.errors import PADCheckpointError, PADNetError
from padnet_hf.method.layer import freeze_idle_routing, hash_masks, mask_groups, pad_weights
from padnet_hf.method.layout import Granularity
from padnet_hf.method.packing import count_set, pack_mask
from padnet_hf.method.weight import PADWeight
from padnet_hf.version import __version__


class PartitionRecordMixin(PreTrainedModel):
    """The record of the partition in `config.partition`, and the counts in `config.dynamic_counts`.

    The record is PartitionConfig's fields, the samples, the hash of the masks and the package's version. Of a
    partition whose making is not known, as the tensors came out of a state dict, only what they show: granularity,
    masks (if each copy has its own), hash and version.
    """

    config: PreTrainedConfig
    _unproven: Mapping[str, Any] | None = None
    """Of a bare model: the record of the configuration it was built from, until a state dict brings its masks."""

    def __init__(self, config: PreTrainedConfig, *args: Any, **kwargs: Any) -> None:
        # A copy, as a model with new values forgets the record, and its caller's configuration must not.
        super().__init__(copy.deepcopy(config) if config.partition else config, *args, **kwargs)
        self.register_load_state_dict_post_hook(_bring_record_in_line)

    @property
    def is_partitioned(self) -> bool:
        return self.config.partition is not None

    def record_partition(self, record: Mapping[str, Any]) -> None:
        """Write into the configuration what a checkpoint needs to be loaded: counts, and how they came about."""
        self.config.dynamic_counts = self._counts()
        self.config.partition = {**record, "padnet_hf_version": __version__}

    def _record_loaded(self, missing: Iterable[str]) -> None:
        """Bring the record in line with weights that came out of a state dict, unless some of them are missing."""
        weights, config = pad_weights(self), self.config
        has_parts = not all(weight.is_fully_dynamic for weight in weights.values())
        if any(_is_in(weights, key) for key in missing) or not (has_parts or self.is_partitioned):
            return
        kinds = (
            {"granularity": weight.granularity} | ({} if weight.masks == "shared" else {"masks": weight.masks})
            for weight in weights.values()
            if not (weight.is_fully_dynamic or weight.is_static)
        )
        kind = next(kinds, _kind(config.partition))
        for weight in weights.values():
            weight.granularity = kind["granularity"]
        known, counts = self.base_model._unproven or config.partition, self._counts()
        if counts != config.dynamic_counts or not self._has_masks_of(known):
            known = {**kind, "padnet_hf_version": __version__} if has_parts else None
        config.partition, config.dynamic_counts = known and dict(known), known and counts
        self._add_hash()
        self.base_model._unproven = None

    def _counts(self) -> dict[str, int]:
        return {self._name_in_base(name): weight.num_dynamic for name, weight in pad_weights(self).items()}

    def _name_in_base(self, name: str) -> str:
        """Without what is wrapped around a weight at the moment, as PEFT's adapters are."""
        parts = name.removeprefix(f"{self.base_model_prefix}.").split(".")
        return ".".join(part for part in parts if part != "base_layer")

    def _make_room(self) -> None:
        """Give every PADWeight the form that `config.dynamic_counts` says. Raises PADNetError where they disagree."""
        counts, weights = self.config.dynamic_counts, pad_weights(self)
        if counts is None:
            return
        kind = _kind(self.config.partition)
        names = {self._name_in_base(name) for name in weights}
        if not isinstance(counts, dict) or set(counts) != names:
            wrong = sorted(set(counts) ^ names)[:3] if isinstance(counts, dict) else repr(counts)
            raise PADNetError(
                f"dynamic_counts in the configuration must give one count for each of the model's {len(names)} PAD "
                f"weights; missing or unknown: {wrong}. Restore the config.json that was saved with the checkpoint."
            )
        for name, weight in weights.items():
            try:
                weight.make_room(counts[self._name_in_base(name)], **kind)
            except PADNetError as error:
                raise PADNetError(f"dynamic_counts of {self._name_in_base(name)!r}: {error}") from None
        freeze_idle_routing(self)

    def _forget_record(self) -> None:
        """Of a model with new values, the configuration's record tells nothing but the granularity and whose masks."""
        record = self.config.partition or {}
        if set(record) - {"granularity", "masks"}:
            self.base_model._unproven = record
            self.config.partition = _kind(record)

    # Masks

    def check_masks(self) -> None:
        """Raise PADCheckpointError if a mask has not its count of set bits, or the masks are not those recorded."""
        for name, weight in pad_weights(self).items():
            if weight.mask_bits is None or weight.mask_bits.is_meta:
                continue
            rest = weight.num_candidates(weight.granularity) % 8
            of_copies = weight.mask_bits.view(-1, weight.mask_bits.shape[-1])
            num_set = next((n for n in map(count_set, of_copies) if n != weight.num_dynamic), weight.num_dynamic)
            beyond = bool((of_copies[:, -1] >> rest).any()) if rest else False
            if num_set != weight.num_dynamic or beyond:
                raise PADCheckpointError(
                    f"the mask of {name} has {num_set} set bits, but dynamic_counts says {weight.num_dynamic}: the "
                    "checkpoint is damaged, download or save it again; or something has written to the mask in memory "
                    "(an average over models must copy buffers of whole numbers: AveragedModel with use_buffers=False)."
                )
        recorded = (self.config.partition or {}).get("mask_hash")
        found = self._hash_stored_masks()
        if found is not None and recorded and found != recorded:
            raise PADCheckpointError(
                f"the masks have the hash {found[:12]}..., but the partition recorded {str(recorded)[:12]}...: "
                "the checkpoint is damaged or its config.json belongs to another one; or something has written to the "
                "masks in memory. load_state_dict brings other masks in, and the record with them."
            )

    def _has_masks_of(self, record: Mapping[str, Any]) -> bool:
        """Whether the masks are those of this record, as far as there are masks that can tell."""
        found = self._hash_stored_masks()
        return found is None or record.get("mask_hash") in (None, found)

    def _add_hash(self) -> None:
        """Record the hash of the masks, where none is recorded and there are masks."""
        if self.is_partitioned and not self.config.partition.get("mask_hash"):
            found = self._hash_stored_masks()
            if found is not None:
                self.config.partition = {**self.config.partition, "mask_hash": found}

    def _hash_stored_masks(self) -> str | None:
        """The hash of the masks, or None for a model without partition or a form that does not hold its masks."""
        granularity = (self.config.partition or {}).get("granularity")
        if granularity not in ("element", "unit"):
            return None
        weights = [group.weights[0] for group in mask_groups(self, granularity)]
        if any(weight.values.is_meta for weight in weights):
            return None
        if granularity == "unit" and not all(weight.layout.ordered for weight in weights):
            return None  # the units of a feed-forward layer are stored in their new order, without a mask
        return self._hash_of(weights)

    @torch.no_grad()
    def _hash_masks(self, granularity: Granularity) -> str:
        return self._hash_of([group.weights[0] for group in mask_groups(self, granularity)])

    def _hash_of(self, weights: Iterable[PADWeight]) -> str:
        of_each = _kind(self.config.partition).get("masks") == "per_copy"
        found = []
        for weight in weights:
            bits = pack_mask(weight.mask()) if weight.mask_bits is None else weight.mask_bits
            found.append(bits.expand(weight.num_copies, -1) if of_each else bits)
        return hash_masks(found)


def _kind(record: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a record says of the form of weights: the granularity, and `masks` where each copy has its own."""
    record = record or {}
    masks = {"masks": "per_copy"} if record.get("masks") == "per_copy" else {}
    return {"granularity": record.get("granularity", "element")} | masks


def _is_in(weights: Mapping[str, Any], key: str) -> bool:
    """Whether a key is of one of these weights; the model may be a part of the module whose keys these are."""
    parts = key.split(".")[:-1]
    return any(".".join(parts[start:]) in weights for start in range(len(parts)))


def _bring_record_in_line(model: PartitionRecordMixin, loaded: Any) -> None:
    """A hook for load_state_dict, also of a module that the model is a part of."""
    model._record_loaded(loaded.missing_keys)
