/** The state of the program in words. */
import { t } from './messages/index.svelte';

/** How many connections are open, or that the system does not tell: nothing is promised then. */
export function connectionWords(count: number | null): string {
  if (count === null) return t('connectionsUnknown');
  return count > 0 ? t('connections', { count }) : t('offline');
}
