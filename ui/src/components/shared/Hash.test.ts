import { flushSync, mount, tick, unmount } from 'svelte';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import Hash from './Hash.svelte';

const value = '0123456789abcdef0123456789abcdef';
const app = vi.hoisted(() => ({ attempt: vi.fn<(work: () => Promise<void>) => Promise<boolean>>() }));
vi.mock('../../lib/app.svelte', () => ({ useApp: () => app }));
let hash: ReturnType<typeof mount>;
let button: HTMLButtonElement;

beforeEach(() => {
  hash = mount(Hash, { target: document.body, props: { name: 'Base', value } });
  button = document.querySelector('button') as HTMLButtonElement;
});
afterEach(() => unmount(hash));

it('is short to look at, and whole to those who point, focus or listen', () => {
  expect(button.querySelector('.short')?.textContent).toBe(value.slice(0, 12));
  expect(button.querySelector('.whole')?.textContent).toBe(value);
  expect(button.title).toBe(value);
  expect(button.getAttribute('aria-label')).toBe(`Copy the hash, Base: ${value}`);
});

it('copies all of it, and says so once it is done', async () => {
  const writeText = vi.fn<(text: string) => Promise<void>>(() => Promise.resolve());
  vi.stubGlobal('navigator', { clipboard: { writeText } });
  const said = () => document.querySelector('[role=status]')?.textContent;
  app.attempt.mockResolvedValueOnce(false);
  button.click();
  await tick();
  expect(said(), 'not when it could not be copied').toBe('');
  app.attempt.mockImplementationOnce((work) => work().then(() => true));
  button.click();
  await vi.waitFor(() => {
    flushSync();
    expect(said()).toBe('Copied');
  });
  expect(writeText).toHaveBeenCalledWith(value);
  vi.unstubAllGlobals();
});
