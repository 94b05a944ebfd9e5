/** Evaluations: the one that is shown, and all of them. */
import type { EvaluationDetail } from '../ipc/bindings/EvaluationDetail';
import type { EvaluationSummary } from '../ipc/bindings/EvaluationSummary';
import type { Client } from '../ipc/client';

const POLL_MS = 1000;

/** True while a process works on it. */
export const isActive = (run: EvaluationSummary): boolean =>
  run.status === 'running' || run.status === 'waiting';

export const canResume = (run: EvaluationSummary): boolean =>
  ['paused', 'interrupted', 'failed'].includes(run.status);

export class EvaluationWatch {
  runs = $state.raw<EvaluationSummary[]>([]);
  shown = $state.raw<EvaluationDetail | null>(null);
  isLoaded = $state(false);
  #timer: ReturnType<typeof setTimeout> | undefined;
  #closed = false;

  constructor(
    readonly client: Client,
    readonly onEnded: () => void,
  ) {}

  get active(): EvaluationSummary | null {
    return this.runs.find(isActive) ?? null;
  }

  /** Reads the list, and shows the active one or the newest. */
  async open(): Promise<void> {
    this.runs = await this.client.listEvaluations();
    this.isLoaded = true;
    const wanted = this.active ?? this.runs[0];
    if (wanted) await this.show(wanted.id);
    else this.shown = null;
  }

  async show(id: string): Promise<void> {
    clearTimeout(this.#timer);
    const before = this.shown?.run;
    const detail = await this.client.getEvaluation(id);
    if (this.#closed) return;
    this.shown = detail;
    const isKnown = this.runs.some((run) => run.id === id);
    this.runs = isKnown
      ? this.runs.map((run) => (run.id === id ? detail.run : run))
      : [detail.run, ...this.runs];
    if (isActive(detail.run)) this.#timer = setTimeout(() => void this.#poll(id), POLL_MS);
    else if (before?.id === id && isActive(before)) this.onEnded();
  }

  /** Deletes an evaluation; the answer brings it back. */
  async remove(id: string): Promise<() => Promise<void>> {
    await this.client.deleteEvaluation(id);
    if (this.shown?.run.id === id) await this.open();
    else this.runs = this.runs.filter((run) => run.id !== id);
    return async () => {
      await this.client.restoreEvaluation(id);
      this.runs = await this.client.listEvaluations();
      await this.show(id);
    };
  }

  async #poll(id: string): Promise<void> {
    // A missed reading is made up for by the next one.
    await this.show(id).catch(() => {
      if (!this.#closed) this.#timer = setTimeout(() => void this.#poll(id), POLL_MS);
    });
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }
}
