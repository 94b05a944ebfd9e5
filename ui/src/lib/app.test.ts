import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { App } from './app.svelte';
import type { Client } from './ipc/client';

const opened = () => new App({} as Client);

beforeEach(() => localStorage.clear());

it('remembers for each place whether its details are unfolded', () => {
  localStorage.setItem('inspector', 'yes'); // of the chat, by its older name
  const app = opened();
  app.place = 'teach';
  expect(app.isInspectorOpen).toBe(false);
  app.toggleInspector();
  expect(app.isInspectorOpen).toBe(true);
  app.place = 'chat';
  expect(app.isInspectorOpen).toBe(true);
  app.toggleInspector();
  const next = opened();
  const shown = (['characters', 'teach', 'chat'] as const).filter((place) => {
    next.place = place;
    return next.isInspectorOpen;
  });
  expect(shown).toEqual(['teach']);
});

it('gives the focus to the view when what led there is gone', async () => {
  document.body.innerHTML =
    '<button id="rail"></button><main id="main" tabindex="-1"><button></button></main>';
  const app = opened();
  const main = document.getElementById('main');
  main?.querySelector('button')?.focus();
  main?.replaceChildren();
  await app.go('teach');
  await Promise.resolve();
  expect(document.activeElement).toBe(main);
  document.getElementById('rail')?.focus();
  await app.go('chat');
  await Promise.resolve();
  expect(document.activeElement?.id).toBe('rail');
});

it('leaves folding to a place that does it itself', () => {
  const app = opened();
  const inspector = vi.fn();
  app.actions = { inspector };
  app.toggleInspector();
  expect(inspector).toHaveBeenCalledOnce();
  expect(app.isInspectorOpen).toBe(false);
});

describe('notices', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());
  const texts = (app: App) => app.notices.map((n) => n.text);

  it('go by themselves, but not while somebody reads them', () => {
    const app = opened();
    app.tell('Deleted', async () => undefined);
    vi.advanceTimersByTime(7000);
    app.holdNotices(true);
    app.tell('Saved');
    vi.advanceTimersByTime(60_000);
    expect(texts(app)).toEqual(['Deleted', 'Saved']);
    app.holdNotices(false);
    vi.advanceTimersByTime(7000);
    expect(texts(app)).toEqual(['Deleted', 'Saved']);
    vi.advanceTimersByTime(1000);
    expect(texts(app)).toEqual([]);
  });

  it('fade again once the last one that was held is closed', () => {
    const app = opened();
    app.tell('Saved');
    app.holdNotices(true);
    app.dismiss(app.notices[0]?.id ?? 0);
    app.tell('Next');
    vi.advanceTimersByTime(8000);
    expect(texts(app)).toEqual([]);
  });

  it('say the same failure once, and keep it until it is closed', () => {
    const app = opened();
    app.complain({ message: 'The disk is full' });
    app.tell('Saved');
    app.complain({ message: 'The disk is full' });
    vi.advanceTimersByTime(60_000);
    expect(texts(app)).toEqual(['The disk is full']);
  });
});
