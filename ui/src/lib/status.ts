/** The state of the program in words. */
import { adapterWords, stageWords } from './evaluate/words';
import type { AppStatus } from './ipc/bindings/AppStatus';
import type { LoadedAdapter } from './ipc/bindings/LoadedAdapter';
import { t } from './messages/index.svelte';

/** How many connections are open, or that the system does not tell: nothing is promised then. */
export function connectionWords(count: number | null): string {
  if (count === null) return t('connectionsUnknown');
  return count > 0 ? t('connections', { count }) : t('offline');
}

/** Memory in short words: `340 MB`, `1.4 GB`; empty where it is not known. */
export function memoryWords(mb: number | null | undefined): string {
  if (mb === null || mb === undefined) return '';
  return mb < 1000 ? `${Math.round(mb)} MB` : `${(mb / 1024).toFixed(1)} GB`;
}

/** Whose adapter it is, and of which stage and step. */
export function loadedWords(adapter: LoadedAdapter): string {
  return [adapter.character, adapterWords(adapter)].filter(Boolean).join(', ');
}

/** The state in short lines: device, base, whose adapter of which stage, memory, connections. */
export function chipLines(status: AppStatus | null): string[] {
  const { model = null, residentMb = null, numConnections = null } = status ?? {};
  const device = (model?.device ?? 'cpu').toUpperCase();
  const { adapter = null } = model ?? {};
  return [
    device,
    model?.name ?? '',
    adapter?.character ?? '',
    adapter ? stageWords(adapter.stage || 'sft') : '',
    memoryWords(residentMb),
    numConnections === null
      ? ''
      : numConnections > 0
        ? t('chipOnline', { count: numConnections })
        : t('chipOffline'),
  ].filter(Boolean);
}
