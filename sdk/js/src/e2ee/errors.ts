/**
 * Why a content cannot be sent or shown. `reason` is one of: `no_keys` (nobody of the receiver's has encryption on), `changed`
 * (the receiver's identity has changed: compare safety numbers, then accept it), `own_identity` (the server names another
 * identity for this user), `plain` (a message that is not encrypted), `forged`, `replayed`, `moved` (of another chat or
 * sender), `no_key` (its key did not come), `not_member` (of the group), `passphrase`, `damaged` (stored keys), `attachment` (other bytes than were sent),
 * `link_code` (not the code that the other device shows), `link_identity` (the server names another identity than the code),
 * `linked` (this device has the identity already), `not_linked` (the other device did not answer); empty for anything else.
 */
export class EncryptionError extends Error {
  /** Which. */
  readonly reason: string

  /** @internal */
  constructor(reason: string, text: string, cause?: unknown) {
    super(text, { cause })
    this.name = 'EncryptionError'
    this.reason = reason
  }
}
