import { beforeEach, expect, it, vi } from 'vitest';
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

it('leaves folding to a place that does it itself', () => {
  const app = opened();
  const inspector = vi.fn();
  app.actions = { inspector };
  app.toggleInspector();
  expect(inspector).toHaveBeenCalledOnce();
  expect(app.isInspectorOpen).toBe(false);
});
