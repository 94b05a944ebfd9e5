import { beforeEach, expect, it, vi } from 'vitest';
import { App } from '../../lib/app.svelte';
import type { ChatSummary } from '../../lib/ipc/bindings/ChatSummary';
import type { CharacterSummary } from '../../lib/ipc/bindings/CharacterSummary';
import type { Client } from '../../lib/ipc/client';
import { matching } from '../../lib/palette';
import { commands } from './commands';

const dot = { id: 'dot', name: 'Dot', problem: null } as CharacterSummary;
const broken = { id: 'broken', name: 'Crack', problem: 'line 3' } as CharacterSummary;

function opened() {
  const client = {
    createCharacter: vi.fn(() => Promise.resolve({ id: 'new' })),
    listCharacters: vi.fn(() => Promise.resolve([dot, broken])),
  };
  const app = new App(client as unknown as Client);
  app.characters = [dot, broken];
  return { app, client };
}

beforeEach(() => localStorage.clear());

it('leads to every character, and to a broken one only to look at it', () => {
  const { app } = opened();
  const all = commands(app, []);
  const ids = all.map((command) => command.id);
  expect(new Set(ids).size).toBe(ids.length);
  for (const id of ['talk-dot', 'open-dot', 'teach-dot', 'open-broken']) expect(ids).toContain(id);
  for (const id of ['talk-broken', 'teach-broken']) expect(ids).not.toContain(id);
  expect(matching(all, 'edit dot')[0]?.id).toBe('open-dot');
  expect(matching(all, 'dot')[0]?.id).toBe('talk-dot');
});

it('leads to chats, but to none whose character was deleted', () => {
  const { app } = opened();
  const chat = (id: string, characterId: string) => ({ id, characterId, title: 'Rain' }) as ChatSummary;
  const all = commands(app, [chat('a', 'dot'), chat('b', 'gone')]);
  expect(matching(all, 'rain').map(({ id, hint }) => [id, hint])).toEqual([['chat-a', 'Dot']]);
});

it('lists what was deleted', () => {
  const { app } = opened();
  void matching(commands(app, []), 'recently deleted')[0]?.run();
  expect(app.isDeletedOpen).toBe(true);
});

it('makes a character and opens it', async () => {
  const { app, client } = opened();
  await commands(app, [])
    .find((command) => command.id === 'new-character')
    ?.run();
  expect(client.createCharacter).toHaveBeenCalledOnce();
  expect([app.place, app.characterId]).toEqual(['characters', 'new']);
});

it('asks for cards and folders where their report is shown', async () => {
  const { app } = opened();
  const [importCards, importRolescape] = [vi.fn(), vi.fn()];
  app.actions = { importCards, importRolescape };
  for (const id of ['import-cards', 'import-rolescape']) {
    app.place = 'gallery';
    await commands(app, [])
      .find((command) => command.id === id)
      ?.run();
    expect(app.place).toBe('characters');
  }
  expect(importCards).toHaveBeenCalledOnce();
  expect(importRolescape).toHaveBeenCalledOnce();
});

it('shows the pictures of one character', async () => {
  const { app } = opened();
  await matching(commands(app, []), 'gallery dot')[0]?.run();
  expect([app.place, app.characterId, app.wantedGallery]).toEqual(['gallery', 'dot', 'dot']);
});
