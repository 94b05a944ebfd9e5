import type { RunSummary } from '../../lib/ipc/bindings/RunSummary';
import type { Key } from '../../lib/messages/en';
import { t } from '../../lib/messages/index.svelte';

const keys: Record<string, Key> = {
  queued: 'queued',
  waiting: 'waiting',
  running: 'running',
  paused: 'paused',
  interrupted: 'interrupted',
  finished: 'finished',
  stopped: 'stoppedRun',
  failed: 'failedRun',
};

/** Where refining, stage 2, has other words. */
const refining: Record<string, Key> = { running: 'refineRunning', finished: 'refineFinished' };

/** A run's status in words. */
export function statusWords(status: string, kind: string): string {
  const key = (kind === 'grpo' ? refining[status] : undefined) ?? keys[status];
  return key ? t(key) : status;
}

/** How far a run is, in words. */
export function stepWords(run: RunSummary): string {
  const { step, numSteps: total } = run;
  return t(run.kind === 'grpo' ? 'epochOf' : 'stepOf', { step, total });
}
