import type { RemarkItem } from '../../lib/ipc/bindings/RemarkItem';
import type { Key } from '../../lib/messages/en';
import { keyOf, t } from '../../lib/messages/index.svelte';
import type { Unit } from '../../lib/training/settings';
import { measureKey } from '../../lib/training/refine';

/** A measure's name in words; one that nobody translated stays as it is. */
export function measureWords(name: string): string {
  const key = measureKey(name);
  return key ? t(key) : name;
}

/** A profile of stage 2 in words; one that the catalogue does not know stays as it is. */
export function profileWords(name: string): string {
  const key = keyOf(`profile.${name}`);
  return key ? t(key) : name;
}

/** What is worth knowing about a run; as the studio said it where the catalogue has no words for it. */
export function remarkWords({ code, text, values }: RemarkItem): string {
  const key = keyOf(`remark.${code}`);
  if (key === null) return text;
  const parts = Object.entries(values).map(([name, value]) => [name, value ?? '']);
  const said: Record<string, string> = Object.fromEntries(parts);
  return t(key, said.measure === undefined ? said : { ...said, measure: measureWords(said.measure) });
}

const units: Record<Unit, Key | null> = {
  steps: 'unitSteps',
  epochs: 'unitEpochs',
  trials: 'unitTrials',
  tokens: 'unitTokens',
  samples: 'unitSamples',
  share: 'unitShare',
  none: null,
};

/** What a number counts, in words; empty where it counts nothing. */
export function unitWords(unit: Unit): string {
  const key = units[unit];
  return key ? t(key) : '';
}
