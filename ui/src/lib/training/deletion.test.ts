import { describe, expect, it, vi } from 'vitest';
import type { RunDeletion } from '../ipc/bindings/RunDeletion';
import type { RunDetail } from '../ipc/bindings/RunDetail';
import type { RunSummary } from '../ipc/bindings/RunSummary';
import type { Client } from '../ipc/client';
import { dateTime, setLanguage } from '../messages/index.svelte';
import { deletionWords } from './deletion';
import { RunWatch } from './watch.svelte';

const run = (id: string, part: Partial<RunSummary> = {}): RunSummary =>
  ({
    id,
    characterId: 'dot',
    characterName: 'Dot',
    kind: 'sft',
    status: 'finished',
    createdMs: 1e12,
    ...part,
  }) as RunSummary;

describe('what is said before a run is deleted', () => {
  const runs = [run('b'), run('a', { createdMs: 9e11 })];
  const unused: RunDeletion = { sizeBytes: 12_300_000, isInUse: false, fallsBackTo: null };
  const frees = 'It can be brought back from Recently deleted for a while; then 12 MB are freed.';

  it('is how much room it frees, and no more where nothing else changes', () => {
    expect(deletionWords(run('a'), unused, runs)).toBe(frees);
    expect(deletionWords(run('a', { status: 'paused' }), unused, runs)).toBe(
      `It has not ended: it could still go on. ${frees}`,
    );
  });

  it('is what the character goes back to, where it speaks with what the run taught', () => {
    const earlier = { name: 'a', stage: 'sft', step: 300 };
    expect(deletionWords(run('b'), { ...unused, isInUse: true, fallsBackTo: earlier }, runs)).toBe(
      `Dot speaks and draws with what this run taught. From the next message on, Dot goes back to what was learned before: Stage 1 · step 300 · ${dateTime(9e11)}. ${frees}`,
    );
    const bare = deletionWords(run('b'), { ...unused, isInUse: true }, runs);
    expect(bare).toContain('Dot answers and draws with the bare base model');
    // What came with an import was taught by no run here.
    const words = deletionWords(run('b'), { ...unused, isInUse: true, fallsBackTo: earlier }, [run('b')]);
    expect(words).toContain('before: Stage 1 · step 300.');
  });

  it('is said in the language of the window', () => {
    setLanguage('zh-Hans');
    expect(deletionWords(run('b'), { ...unused, isInUse: true }, runs)).toContain('Dot只用基础模型');
    setLanguage('en');
  });
});

/** A fake that holds runs, and lets them go and come back. */
function watching(all: RunSummary[]) {
  const trash: RunSummary[] = [];
  const move = (id: string, from: RunSummary[], to: RunSummary[]) => {
    const at = from.findIndex((known) => known.id === id);
    if (at < 0) return Promise.reject(new Error(`no run ${id}`));
    to.push(...from.splice(at, 1));
    return Promise.resolve();
  };
  const fake = {
    listRuns: () => Promise.resolve([...all].sort((a, b) => b.id.localeCompare(a.id))),
    getRun: vi.fn<Client['getRun']>((id) => {
      const found = all.find((known) => known.id === id);
      return found ? Promise.resolve({ run: found } as RunDetail) : Promise.reject(new Error(`no run ${id}`));
    }),
    deleteRun: (id: string) => move(id, all, trash).then(() => null),
    restoreRun: (id: string) => move(id, trash, all).then(() => run(id)),
  };
  return new RunWatch(fake as unknown as Client, () => {});
}

describe('deleting a run', () => {
  it('shows the next one, and the undo shows it again', async () => {
    const watch = watching([run('a'), run('b')]);
    await watch.open('dot');
    expect(watch.shown?.run.id).toBe('b');
    const undo = await watch.remove(run('b'));
    expect([watch.shown?.run.id, watch.runs.length]).toEqual(['a', 1]);
    const undoLast = await watch.remove(run('a'));
    expect([watch.shown, watch.runs.length]).toEqual([null, 0]);
    await undoLast();
    await undo();
    expect([watch.shown?.run.id, watch.runs.map((known) => known.id)]).toEqual(['b', ['b', 'a']]);
  });

  it('leaves what is shown alone: another run, or by then another character', async () => {
    const watch = watching([run('a'), run('b'), run('c', { characterId: 'lotte' })]);
    await watch.open('dot');
    const undo = await watch.remove(run('a'));
    expect(watch.shown?.run.id).toBe('b');
    await watch.open('lotte');
    await undo();
    expect([watch.shown?.run.id, watch.runs.length]).toEqual(['c', 3]);
  });
});
