// Waiting, shown honestly: nothing below 400 ms, a spinner from then on, and
// past three seconds a word on what is slow.

const spinnerAfterMs = 400;
const wordAfterMs = 3000;

export type SlowListener = (name: string, slow: boolean) => void;

export class Busy {
  private running = 0;
  private timers: number[] = [];

  /**
   * @param element gets aria-busy, and data-slow once a spinner is due
   * @param name    what is being counted, in the middle of a sentence
   */
  constructor(private readonly element: HTMLElement, private readonly name: string, private readonly onSlow: SlowListener) {}

  async during<T>(work: Promise<T>, quiet = false): Promise<T> {
    if (quiet) return work;
    if (this.running++ === 0) this.start();
    try {
      return await work;
    } finally {
      if (--this.running === 0) this.stop();
    }
  }

  private start(): void {
    this.element.setAttribute("aria-busy", "true");
    this.timers = [
      window.setTimeout(() => { this.element.dataset.slow = ""; }, spinnerAfterMs),
      window.setTimeout(() => this.onSlow(this.name, true), wordAfterMs),
    ];
  }

  private stop(): void {
    for (const timer of this.timers) window.clearTimeout(timer);
    this.element.removeAttribute("aria-busy");
    delete this.element.dataset.slow;
    this.onSlow(this.name, false);
  }
}
