"""A version that is ready to answer: loaded into this process, or into vLLM servers."""

from __future__ import annotations

import contextlib
import logging
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from everlearn.domains.contract import load_domain
from everlearn.training.engines.decode import decode
from everlearn.training.engines.samplers import sampling
from everlearn.training.engines.vllm_server import require_rank
from everlearn.training.memory_plan import decoded_tokens
from everlearn.training.models.formats.format_choice import choose_format
from everlearn.training.models.policy import load_policy
from everlearn.training.rollouts import batches

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from everlearn.domains.contract import Domain
    from everlearn.settings import Settings
    from everlearn.training.engines.decode import Completion
    from everlearn.training.engines.vllm import Replicas
    from everlearn.training.models.formats.format import ServedFormat
    from everlearn.training.models.llama import Model

LOG = logging.getLogger("everlearn.serving")
LOAD_S = 120.0
"""Seconds that a server may take to load an adapter and to prove that it answers with it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ServedVersion:
    """A version that can answer. `manifest` is the digest of its manifest; None: the base model alone.

    `sampler` are the vLLM servers that have loaded it; without them `model`, with its adapter merged, decodes here,
    within the `model_context`. `reload` loads it once more, into every server that is there then.
    """

    version: str
    manifest: str | None
    model: Model
    model_context: int | None
    form: ServedFormat
    domain: Domain
    reload: Callable[[], ServedVersion]
    sampler: Replicas | None
    resources: contextlib.ExitStack

    @property
    def servers_lost(self) -> list[str]:
        """The addresses of its servers that were dropped since it was loaded."""
        return self.sampler.lost if self.sampler else []

    @property
    def context(self) -> int | None:
        """The most tokens of a prompt with its completion, None where what decodes does not say."""
        return self.model_context if self.sampler is None else self.sampler.context

    @property
    def can_answer(self) -> bool:
        """Whether a server is left, where servers decode."""
        return self.sampler is None or bool(self.sampler.alive)

    def complete(
        self,
        prompts: Sequence[list[int]],
        *,
        seeds: Sequence[int] | None,
        limits: Sequence[int],
        temperature: float,
    ) -> list[list[Completion]]:
        """Return one completion for each prompt, greedy without seeds.

        Where this process decodes, a batch goes on to its largest limit, so that a completion may exceed its own: cut
        it.
        """
        if self.sampler is not None:
            return self.sampler.complete(prompts, group=1, seeds=seeds, limits=limits, temperature=temperature)
        done: list[list[Completion]] = [[] for _ in prompts]
        for rows in self._batches([len(prompt) for prompt in prompts], limits):
            decoded = decode(
                self.model,
                [prompts[row] for row in rows],
                group=1,
                seeds=None if seeds is None else [seeds[row] for row in rows],
                stops=self.form.stops,
                limit=max(limits[row] for row in rows),
                temperature=temperature,
            )
            for row, completions in zip(rows, decoded, strict=True):
                done[row] = completions
        return done

    def _batches(self, lengths: Sequence[int], limits: Sequence[int]) -> list[list[int]]:
        """Return rows to decode together, whose keys and values fit into memory: more are decoded one batch after another.

        A batch goes on to its largest limit: a row without room for it is alone.
        """
        longest = max(limits)
        fits = [self.context is None or length + longest <= self.context for length in lengths]
        together = [row for row, has_room in enumerate(fits) if has_room]
        cut = batches([lengths[row] + longest for row in together], budget=decoded_tokens(self.model))
        shared = [[together[place] for place in batch] for batch in cut]
        return [*shared, *([row] for row, has_room in enumerate(fits) if not has_room)]

    def close(self) -> None:
        """Unload its adapter from the servers. An error is logged: it must not end the thread of other requests."""
        try:
            self.resources.close()
        except Exception:
            LOG.exception("version %s was not unloaded", self.version)


def load_version(
    base: Path, adapter: Path | None, *, version: str, manifest: str | None, settings: Settings
) -> ServedVersion:
    """Load a version: into this process, and into the vLLM servers of the settings, which must prove to answer with it.

    Raises:
        ModelError: the base or the adapter cannot be used, or not with vLLM.
        ServiceError: no server answers with the adapter.
    """
    policy, domain = load_policy(base, adapter, compute=settings.compute), load_domain(settings.domain)
    form = choose_format(policy, domain, settings.format)
    require_rank(policy.rank)
    with contextlib.ExitStack() as stack:
        sampler = stack.enter_context(
            sampling(
                settings.rollout_backend,
                base=base,
                policy=policy,
                threads=settings.threads,
                version=f"serving-{secrets.token_hex(4)}-{version}",  # other processes may serve it on the same servers
                least_rank=settings.learn.rank,
                load_timeout_s=LOAD_S,
            )
        )
        return ServedVersion(
            version=version,
            manifest=manifest,
            model=policy.snapshot(),
            model_context=policy.context,
            form=form,
            domain=domain,
            reload=lambda: load_version(base, adapter, version=version, manifest=manifest, settings=settings),
            sampler=sampler,
            resources=stack.pop_all(),
        )
