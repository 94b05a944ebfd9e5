import { flushSync, mount, unmount } from 'svelte';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import Root from './App.svelte';
import { App } from './lib/app.svelte';
import type { CharacterSummary } from './lib/ipc/bindings/CharacterSummary';
import type { Client } from './lib/ipc/client';
import { ids } from './lib/testids';

const listCharacters = vi.fn<Client['listCharacters']>();
const dot = { id: 'dot', name: 'Dot', tagline: '', isTaught: true, portrait: null, problem: null };
let root: ReturnType<typeof mount> | null = null;
/** All that the page has said so far. */
let said = '';

/** Opens the window, and answers with what its list of characters waits for. */
function open(): (characters: CharacterSummary[]) => Promise<void> {
  let resolve: (characters: CharacterSummary[]) => void = () => undefined;
  listCharacters.mockReturnValueOnce(new Promise((done) => (resolve = done)));
  const pending = () => new Promise<never>(() => undefined);
  const client = new Proxy(
    { listCharacters },
    {
      get: (known, name) => (name in known ? known[name as keyof typeof known] : pending),
    },
  );
  const note = () => (said += document.querySelector('main')?.textContent ?? '');
  new MutationObserver(note).observe(document.body, { childList: true, subtree: true });
  root = mount(Root, { target: document.body, props: { app: new App(client as unknown as Client) } });
  flushSync();
  note();
  return async (characters) => {
    resolve(characters);
    await vi.waitFor(() => expect(document.querySelector('main > [aria-busy=true]')).toBeNull());
    await Promise.resolve();
  };
}

beforeEach(() => {
  localStorage.clear();
  said = '';
});
afterEach(() => root && unmount(root));

it('greets at the first start, and shows nothing else before', async () => {
  const answer = open();
  await answer([dot as unknown as CharacterSummary]);
  expect(document.querySelector(`[data-testid=${ids.welcome}]`)).not.toBeNull();
  expect(said).not.toContain('Choose a character');
});

it.each(['teach', 'characters'])('shows the open place %s with its character at once', async (place) => {
  localStorage.setItem('place', place);
  localStorage.setItem('character', 'dot');
  const answer = open();
  await answer([dot as unknown as CharacterSummary]);
  expect(document.querySelector('main')?.textContent).toContain('Dot');
  expect(said).not.toMatch(/Choose (whom to teach|a character)/);
});

it('ignores what is dropped where nothing takes it', async () => {
  await open()([dot as unknown as CharacterSummary]);
  const field = document.body.appendChild(document.createElement('textarea'));
  const reachesPage = (type: string, target: Element, types: string[]) => {
    const event = new Event(type, { bubbles: true, cancelable: true });
    Object.assign(event, { dataTransfer: { types } });
    return target.dispatchEvent(event);
  };
  for (const type of ['dragover', 'drop']) {
    expect(reachesPage(type, document.body, ['Files'])).toBe(false);
    expect(reachesPage(type, document.body, ['text/uri-list'])).toBe(false);
    expect(reachesPage(type, field, ['text/uri-list', 'Files'])).toBe(false);
    expect(reachesPage(type, field, ['text/plain']), 'words into a field').toBe(true);
  }
  field.remove();
});
