/** Where the focus goes when what had it is gone. */
import { tick } from 'svelte';

/** Gives a lost focus to `wanted`, or to the view when that is gone, too; takes it from nobody. */
export async function mendFocus(wanted: Element | null = null): Promise<void> {
  await tick();
  if (document.activeElement !== document.body) return;
  const known = wanted instanceof HTMLElement && wanted.isConnected ? wanted : null;
  (known ?? document.getElementById('main'))?.focus({ preventScroll: true });
}
