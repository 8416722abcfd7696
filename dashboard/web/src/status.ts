// One quiet line that says what the page is waiting for or what went wrong.
import { type ApiError } from "./api";
import { fill, h } from "./dom";

export class Status {
  readonly element = h("div", { class: "status", role: "status" });
  private readonly waiting = new Set<string>();
  private trouble: ApiError | null = null;
  private lastAnswer: Date | null = null;

  constructor(private readonly retry: () => void) {}

  slow(name: string, slow: boolean): void {
    const before = this.waiting.size;
    if (slow) this.waiting.add(name);
    else this.waiting.delete(name);
    if (before !== this.waiting.size) this.draw();
  }

  well(): void {
    this.lastAnswer = new Date();
    if (this.trouble === null) return;
    this.trouble = null;
    this.draw();
  }

  fault(fault: ApiError): void {
    if (this.trouble?.message === fault.message) return;
    this.trouble = fault;
    this.draw();
  }

  private draw(): void {
    const { trouble } = this;
    this.element.classList.toggle("faulty", trouble !== null);
    if (trouble) {
      const counted = this.lastAnswer && h("span", { class: "hint" },
        `Last counted at ${new Intl.DateTimeFormat(undefined, { hour: "numeric", minute: "2-digit" }).format(this.lastAnswer)}.`);
      const action = trouble.fault === "login"
        ? h("a", { class: "button", href: `/login?next=${encodeURIComponent(location.pathname + location.search)}` }, "Log in")
        : h("button", { type: "button", on: { click: () => this.retry() } }, "Try again");
      fill(this.element, h("span", { class: "error" }, trouble.message), counted, action);
    } else if (this.waiting.size > 0) {
      fill(this.element, h("span", {}, `Still counting ${joined([...this.waiting])}. A long period over many visits takes longest.`));
    } else {
      fill(this.element);
    }
  }
}

function joined(names: string[]): string {
  if (names.length > 3) return "most of the page";
  return names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
}
