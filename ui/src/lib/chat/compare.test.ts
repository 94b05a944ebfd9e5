import { expect, it, vi } from 'vitest';
import type { CompareAnswer } from '../ipc/bindings/CompareAnswer';
import type { CompareEvent } from '../ipc/bindings/CompareEvent';
import type { Client } from '../ipc/client';
import { Comparison } from './compare.svelte';

const answer = (side: number, more: Partial<CompareAnswer> = {}): CompareAnswer => ({
  side,
  text: `answer ${side}`,
  picture: null,
  seed: 1,
  baseHash: 'b',
  adapterHash: null,
  ...more,
});

function played() {
  let emit: (event: CompareEvent) => void = () => {};
  const client = {
    compare: vi.fn((_: unknown, on: (event: CompareEvent) => void) => {
      emit = on;
      return Promise.resolve('c1');
    }),
    stopGeneration: vi.fn(() => Promise.resolve()),
  };
  const comparison = new Comparison(client as unknown as Client);
  return { comparison, client, emit: (event: CompareEvent) => emit(event) };
}

const sides = [
  { characterId: 'x', adapter: null },
  { characterId: 'x', adapter: 'one' },
];

it('fills each side by its own events and ends', async () => {
  const { comparison, client, emit } = played();
  await comparison.run('c', 'Hello?', sides, 1, true);
  expect(client.compare.mock.calls[0]?.[0]).toMatchObject({ text: 'Hello?', seed: 1, sides });
  emit({ type: 'phase', side: 1, kind: 'loadingAdapter', numTokens: null });
  expect(comparison.sides[1]?.phase?.kind).toBe('loadingAdapter');
  emit({ type: 'textDelta', side: 1, delta: 'ans' });
  expect(comparison.sides.map((s) => s.text)).toEqual(['', 'ans']);
  emit({ type: 'sideDone', answer: answer(0) });
  emit({ type: 'sideDone', answer: answer(1, { adapterHash: 'a' }) });
  expect(comparison.isFair).toBe(true);
  emit({ type: 'sideDone', answer: answer(1, { seed: 2 }) });
  expect(comparison.isFair).toBe(false);
  expect(comparison.isBusy).toBe(true);
  emit({ type: 'done' });
  expect(comparison.isBusy).toBe(false);
});

it('keeps what there is when it fails, and stops by name', async () => {
  const { comparison, client, emit } = played();
  await comparison.run('c', 'Hello?', sides, 1, false);
  await comparison.stop();
  expect(client.stopGeneration).toHaveBeenCalledWith('c1');
  emit({ type: 'sideDone', answer: answer(0) });
  emit({ type: 'failed', error: { code: 'model', cause: null, values: {}, message: 'gone', hint: '' } });
  expect(comparison.error?.message).toBe('gone');
  expect(comparison.sides[0]?.text).toBe('answer 0');
  client.compare.mockReturnValueOnce(Promise.reject(new Error('full')));
  await comparison.run('c', 'Hello?', sides, 1, false);
  expect([comparison.isBusy, comparison.error?.message]).toEqual([false, 'full']);
});
