/** A drawing job: one picture or a whole expression sheet, with its progress. */
import type { ApiError } from '../ipc/bindings/ApiError';
import type { DrawingEvent } from '../ipc/bindings/DrawingEvent';
import type { GalleryItem } from '../ipc/bindings/GalleryItem';
import type { PhaseKind } from '../ipc/bindings/PhaseKind';
import { asApiError, type Client, type OnDrawingEvent } from '../ipc/client';

export type Progress = {
  index: number;
  count: number;
  label: string;
  step: number;
  numSteps: number;
  etaSecs: number;
};

export class DrawingJob {
  id = $state<string | null>(null);
  phase = $state<PhaseKind | null>(null);
  progress = $state<Progress | null>(null);
  preview = $state<string | null>(null);
  error = $state<ApiError | null>(null);
  numDrawn = $state(0);
  /** What is being written for the next one; it stays while another place is shown. */
  prompt = $state('');
  /** The picture that it starts from. */
  referenceId = $state<string | null>(null);
  /** Hears of every finished picture, and once more with null when the job has ended. */
  onPicture: (item: GalleryItem | null) => void = () => {};

  #begin: ((on: OnDrawingEvent) => Promise<string>) | null = null;

  constructor(readonly client: Client) {}

  get isBusy(): boolean {
    return this.id !== null;
  }

  /** Steps done over the whole job, 0 to 1. */
  get share(): number {
    const p = this.progress;
    return p ? (p.index + p.step / Math.max(1, p.numSteps)) / Math.max(1, p.count) : 0;
  }

  async start(begin: (on: OnDrawingEvent) => Promise<string>): Promise<void> {
    if (this.isBusy) return;
    this.id = 'starting';
    this.#begin = begin;
    this.error = this.progress = this.preview = this.phase = null;
    this.numDrawn = 0;
    try {
      const id = await begin((event) => this.receive(event));
      // The job may have ended before its name arrived.
      if (this.isBusy) this.id = id;
    } catch (error) {
      this.id = null;
      throw error;
    }
  }

  /** Whether the failed job can be asked for as it was: nothing of it was drawn. */
  get canRetry(): boolean {
    return this.error !== null && this.numDrawn === 0;
  }

  async retry(): Promise<void> {
    if (this.#begin) await this.start(this.#begin);
  }

  async stop(): Promise<void> {
    if (this.id) await this.client.stopGeneration(this.id);
  }

  receive(event: DrawingEvent): void {
    switch (event.type) {
      case 'phase':
        this.phase = event.kind;
        break;
      case 'progress': {
        const { index, count, label, step, numSteps, etaSecs } = event;
        this.phase = null;
        this.progress = { index, count, label, step, numSteps, etaSecs };
        this.preview = event.preview ?? this.preview;
        break;
      }
      case 'picture':
        this.numDrawn += 1;
        this.preview = null;
        this.onPicture(event.item);
        break;
      case 'done':
        this.#end();
        break;
      case 'failed':
        this.error = asApiError(event.error);
        this.#end();
        break;
    }
  }

  #end(): void {
    this.id = this.phase = this.preview = this.progress = null;
    this.onPicture(null);
  }
}

const jobs = new WeakMap<Client, DrawingJob>();

/** The one job of the window: it goes on while another place is shown. */
export function drawingJob(client: Client): DrawingJob {
  const job = jobs.get(client) ?? new DrawingJob(client);
  jobs.set(client, job);
  return job;
}
