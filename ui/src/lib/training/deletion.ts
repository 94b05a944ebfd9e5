/** What deleting a run means, in words. */
import { adapterWords } from '../evaluate/words';
import type { RunDeletion } from '../ipc/bindings/RunDeletion';
import type { RunSummary } from '../ipc/bindings/RunSummary';
import { dateTime, size, t } from '../messages/index.svelte';

/** What the character speaks and draws with afterwards, if that changes. `runs` date what it learned. */
function fallback(run: RunSummary, deletion: RunDeletion, runs: RunSummary[]): string[] {
  if (!deletion.isInUse) return [];
  const name = run.characterName;
  const next = deletion.fallsBackTo;
  if (!next) return [t('deleteRunInUse', { name }), t('deleteRunToBase', { name })];
  const taught = runs.find((known) => known.id === next.name);
  const words = adapterWords(next);
  const adapter = taught ? `${words} · ${dateTime(taught.createdMs)}` : words;
  return [t('deleteRunInUse', { name }), t('deleteRunToAdapter', { name, adapter })];
}

/** What is said before a run is deleted. */
export function deletionWords(run: RunSummary, deletion: RunDeletion, runs: RunSummary[]): string {
  const isOpen = !['finished', 'stopped'].includes(run.status);
  return [
    ...(isOpen ? [t('deleteRunOpen')] : []),
    ...fallback(run, deletion, runs),
    t('deleteFrees', { size: size(deletion.sizeBytes) }),
  ].join(' ');
}
