/** Errors in the language of the window. */
import type { ApiError } from './ipc/bindings/ApiError';
import { t } from './messages/index.svelte';

/** What went wrong and what to try; as the studio said it where the cause is none of the known ones. */
export function errorWords(error: ApiError): { message: string; hint: string } {
  const { cause, values, message, hint } = error;
  if (cause === null) return { message, hint };
  const parts = Object.fromEntries(Object.entries(values).map(([name, value]) => [name, value ?? '']));
  return { message: t(`error.${cause}`, parts).trim(), hint: t(`error.${cause}.hint`, parts) };
}

/** What the studio said, where it tells an expert more than the words of the window do. */
export function errorDetail(error: ApiError): string | null {
  const isTechnical =
    ['model', 'storage', 'internal'].includes(error.code) ||
    error.cause === 'badNumbers' ||
    error.cause === 'measureRefused';
  return error.cause !== null && isTechnical ? error.message : null;
}
