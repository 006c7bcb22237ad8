/** The field for an access token, there while a hub has refused for want of one. The token is kept in it alone. */

import { byId } from "./elements.ts";

export class TokenField {
  readonly #field = byId("token-field", HTMLElement);
  readonly #host = byId("token-host", HTMLElement);
  readonly #token = byId("token", HTMLInputElement);

  get token(): string | undefined {
    return this.#token.value.trim() || undefined;
  }

  get shown(): boolean {
    return !this.#field.hidden;
  }

  /** @param hub where the token goes */
  ask(hub: URL): void {
    this.#host.textContent = hub.host;
    this.#field.hidden = false;
    this.#token.focus();
  }

  /** Forgets the token. */
  clear(): void {
    this.#token.value = "";
    this.#field.hidden = true;
  }
}
