import { t } from '../../lib/messages/index.svelte';
import { measureKey } from '../../lib/training/refine';

/** A measure's name in words; one that nobody translated stays as it is. */
export function measureWords(name: string): string {
  const key = measureKey(name);
  return key ? t(key) : name;
}
