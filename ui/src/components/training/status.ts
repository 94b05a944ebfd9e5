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

/** A run's status in words. */
export function statusWords(status: string): string {
  const key = keys[status];
  return key ? t(key) : status;
}
