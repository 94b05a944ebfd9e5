/** What is being done, in the words of the page. */
import type { PhaseKind } from '../ipc/bindings/PhaseKind';
import { duration, t } from '../messages/index.svelte';

export type Phase = { kind: PhaseKind; numTokens: number | null };
export type Drawing = { step: number; numSteps: number; etaSecs: number; preview: string | null };

export function phaseWords({ kind, numTokens }: Phase): string {
  switch (kind) {
    case 'waiting':
      return t('phaseWaiting');
    case 'loadingBase':
      return t('phaseLoadingBase');
    case 'loadingAdapter':
      return t('phaseLoadingAdapter');
    case 'reading':
      return numTokens === null ? t('thinking') : t('phaseReading', { count: numTokens });
    case 'preparingPicture':
      return t('phasePreparingPicture');
  }
}

export function drawingWords({ step, numSteps, etaSecs }: Drawing): string {
  const done = t('drawing', { step, total: numSteps });
  return `${done} · ${t('left', { time: duration(Math.ceil(etaSecs)) })}`;
}
