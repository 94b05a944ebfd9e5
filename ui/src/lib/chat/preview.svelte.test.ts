import { flushSync } from 'svelte';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import type { ChatDetail } from '../ipc/bindings/ChatDetail';
import type { PromptReport } from '../ipc/bindings/PromptReport';
import type { Client } from '../ipc/client';
import { ChatSession } from './session.svelte';

const report = (numTokens: number) => ({ numTokens, limit: 100, parts: [] }) as unknown as PromptReport;

function opened() {
  const previewPrompt = vi.fn<Client['previewPrompt']>((_chat, draft) =>
    Promise.resolve(report(draft.length)),
  );
  const setChatSettings = vi.fn(() => Promise.resolve(null));
  const client = { previewPrompt, setChatSettings, getMessages: vi.fn() } as unknown as Client;
  const detail = { chat: { id: 'c', characterId: 'x', title: '' }, thread: [], messages: [], settings: {} };
  return {
    session: new ChatSession(client, detail as unknown as ChatDetail),
    previewPrompt,
    setChatSettings,
  };
}

beforeEach(() => {
  localStorage.clear();
  vi.useFakeTimers();
});
afterEach(() => void vi.useRealTimers());

it('counts once after the last key, however many look', async () => {
  const { session, previewPrompt } = opened();
  const stop = $effect.root(() => {
    $effect(() => session.preview.follow());
    $effect(() => session.preview.follow());
  });
  for (const draft of ['H', 'Hi', 'Hi!']) {
    session.keepDraft(draft);
    flushSync();
    await vi.advanceTimersByTimeAsync(100);
  }
  expect(previewPrompt).not.toHaveBeenCalled();
  await vi.advanceTimersByTimeAsync(300);
  expect(previewPrompt.mock.calls).toEqual([['c', 'Hi!']]);
  expect(session.preview.report?.numTokens).toBe(3);
  stop();
});

it('counts by the settings on the screen', async () => {
  const { session, previewPrompt, setChatSettings } = opened();
  session.lead({ authorNote: 'It rains.' });
  await session.preview.count();
  expect(setChatSettings.mock.invocationCallOrder[0]).toBeLessThan(
    previewPrompt.mock.invocationCallOrder[0] ?? 0,
  );
});

it('counts what changed meanwhile after the count that is on', async () => {
  const { session, previewPrompt } = opened();
  let answer: (report: PromptReport) => void = () => {};
  previewPrompt.mockImplementationOnce(() => new Promise((done) => (answer = done)));
  const first = session.preview.count();
  session.keepDraft('More');
  await session.preview.count();
  expect(previewPrompt).toHaveBeenCalledOnce();
  answer(report(0));
  await first;
  await vi.advanceTimersByTimeAsync(300);
  expect(session.preview.report?.numTokens).toBe(4);
});

it('leaves the processor to the reply that is being made', async () => {
  const { session, previewPrompt } = opened();
  session.generationId = 'g';
  const stop = $effect.root(() => {
    $effect(() => session.preview.follow());
  });
  session.keepDraft('Next');
  flushSync();
  await vi.advanceTimersByTimeAsync(1000);
  expect(previewPrompt).not.toHaveBeenCalled();
  session.generationId = null;
  flushSync();
  await vi.advanceTimersByTimeAsync(300);
  expect(previewPrompt).toHaveBeenCalledOnce();
  stop();
});

it('says why it cannot count', async () => {
  const { session, previewPrompt } = opened();
  previewPrompt.mockRejectedValueOnce(new Error('no tokenizer'));
  await session.preview.count();
  expect([session.preview.report, session.preview.error?.message]).toEqual([null, 'no tokenizer']);
});
