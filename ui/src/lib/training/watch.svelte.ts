/** Runs of teaching: the one that is shown, and all of them. */
import type { RunDetail } from '../ipc/bindings/RunDetail';
import type { RunSummary } from '../ipc/bindings/RunSummary';
import type { Client } from '../ipc/client';

const POLL_MS = 1000;

/** Runs that wait for the one that is on, the next one first. */
export function queueOf(runs: RunSummary[]): RunSummary[] {
  return runs.filter((r) => r.status === 'queued').sort((a, b) => a.createdMs - b.createdMs);
}

/** True while a process works on the run. */
export function isActive(run: RunSummary): boolean {
  return run.status === 'running' || run.status === 'waiting';
}

/** True while a run goes on, or will by itself. */
const isUnderWay = (run: RunSummary): boolean => isActive(run) || run.status === 'queued';

export class RunWatch {
  // Replaced whole, once a second: no proxies around thousands of points.
  runs = $state.raw<RunSummary[]>([]);
  shown = $state.raw<RunDetail | null>(null);
  #timer: ReturnType<typeof setTimeout> | undefined;
  #characterId: string | null = null;
  /** The run that is shown, or is about to be. */
  #wantedId: string | null = null;
  #stopped = false;

  constructor(
    readonly client: Client,
    readonly onEnded: () => void,
  ) {}

  get active(): RunSummary | null {
    return this.runs.find(isActive) ?? null;
  }

  /** Reads the list, and shows the active run or the newest of `characterId`. */
  async open(characterId: string | null): Promise<void> {
    this.#characterId = characterId;
    const runs = await this.client.listRuns(null);
    if (this.#characterId !== characterId) return; // another was opened meanwhile
    this.runs = runs;
    const own = this.runs.filter((r) => r.characterId === characterId);
    const wanted = own.find(isActive) ?? own[0];
    await this.show(wanted?.id ?? null);
  }

  async show(id: string | null): Promise<void> {
    this.#wantedId = id;
    if (id === null) this.shown = null;
    else await this.#read(id);
    this.#later();
  }

  async #read(id: string): Promise<void> {
    const before = this.shown?.run;
    const detail = await this.client.getRun(id);
    if (this.#stopped || this.#wantedId !== id) return;
    this.shown = detail;
    this.runs = this.runs.map((r) => (r.id === id ? detail.run : r));
    if (before?.id === id && isActive(before) && !isUnderWay(detail.run)) this.onEnded();
  }

  /** Deletes a run; the answer brings it back. */
  async remove(run: RunSummary): Promise<() => Promise<void>> {
    await this.client.deleteRun(run.id);
    if (this.shown?.run.id === run.id) await this.open(this.#characterId);
    else this.runs = await this.client.listRuns(null);
    return async () => {
      await this.client.restoreRun(run.id);
      this.runs = await this.client.listRuns(null);
      // Another character may be shown by now.
      if (run.characterId === this.#characterId) await this.show(run.id);
    };
  }

  /** Reads again in a moment, as long as any run is under way: another's may keep this one waiting. */
  #later(): void {
    clearTimeout(this.#timer);
    if (this.#stopped || !this.runs.some(isUnderWay)) return;
    // A missed reading is made up for by the next one.
    const poll = () => this.#poll().catch(() => {});
    this.#timer = setTimeout(() => void poll().then(() => this.#later()), POLL_MS);
  }

  async #poll(): Promise<void> {
    const shown = this.shown?.run;
    if (shown && shown.id === this.#wantedId && isUnderWay(shown)) await this.#read(shown.id);
    if (!this.runs.some((r) => r.id !== shown?.id && isUnderWay(r))) return;
    const runs = await this.client.listRuns(null);
    if (!this.#stopped) this.runs = runs;
  }

  close(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }
}
