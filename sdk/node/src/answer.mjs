/** A head above this is no answer of a server that we know. */
const HEAD_LIMIT = 64 * 1024;
const HEAD_END = Buffer.from('\r\n\r\n');
const LINE_END = Buffer.from('\r\n');
const NOTHING = Buffer.alloc(0);

/** Reads one HTTP/1.1 answer from its bytes as they come (RFC 9112 §4, §6, §7): a head, then a body of known length, in chunks, or up to the end. */
export class AnswerReader {
  status = 0;
  /** The whole answer is there. */
  isDone = false;
  /** The bytes are no HTTP answer. */
  isBroken = false;
  /** The connection may carry another request. */
  isReusable = true;
  #onHead;
  #read = this.#readHead;
  /** Bytes that came and are not read yet. */
  #rest = NOTHING;
  #body = [];
  /** Bytes of the body, or of its chunk, that are still to come. */
  #left = 0;

  constructor(onHead) {
    this.#onHead = onHead;
  }

  push(bytes) {
    this.#rest = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes]);
    while (!this.isDone && !this.isBroken && this.#read());
    // What comes after an answer that nobody asked for.
    if (this.isDone && this.#rest.length > 0) this.isReusable = false;
  }

  /** The other side said that nothing more comes. */
  end() {
    if (this.#read === this.#readToEnd) this.isDone = true;
  }

  text() {
    return (this.#body.length === 1 ? this.#body[0] : Buffer.concat(this.#body)).toString();
  }

  #readHead() {
    const end = this.#rest.indexOf(HEAD_END);
    if (end < 0) return this.#wait();
    const head = this.#rest.toString('latin1', 0, end + 2).toLowerCase();
    this.#rest = this.#rest.subarray(end + 4);
    const [, minor, status] = /^http\/1\.([01]) (\d{3})[ \r]/.exec(head) ?? [];
    if (status === undefined) return this.#break();
    // Says only that an answer will come.
    if (status.startsWith('1')) return true;
    this.status = Number(status);
    this.isReusable = minor === '1' && !/\r\nconnection:[^\r]*\bclose\b/.test(head);
    this.#onHead?.(this.status);
    return this.#beginBody(head);
  }

  #beginBody(head) {
    if (this.status === 204 || this.status === 304) return this.#finish();
    if (/\r\ntransfer-encoding:[^\r]*\bchunked[ \t]*\r/.test(head)) this.#read = this.#readSize;
    else {
      const [, length] = /\r\ncontent-length:[ \t]*(\d{1,15})[ \t]*\r/.exec(head) ?? [];
      this.#left = Number(length ?? 0);
      this.#read = length === undefined ? this.#readToEnd : this.#readBody;
      if (length === undefined) this.isReusable = false;
    }
    return true;
  }

  #readBody() {
    this.#takeBody();
    return this.#left === 0 && this.#finish();
  }

  #readToEnd() {
    this.#left = this.#rest.length;
    this.#takeBody();
    return false;
  }

  #readSize() {
    const line = this.#takeLine();
    if (line === undefined) return false;
    if (!/^[\da-f]{1,12}[ \t]*(;|$)/i.test(line)) return this.#break();
    this.#left = Number.parseInt(line, 16);
    this.#read = this.#left === 0 ? this.#readTrailer : this.#readChunk;
    return true;
  }

  #readChunk() {
    this.#takeBody();
    if (this.#left > 0 || this.#rest.length < LINE_END.length) return false;
    if (this.#rest.indexOf(LINE_END) !== 0) return this.#break();
    this.#rest = this.#rest.subarray(LINE_END.length);
    this.#read = this.#readSize;
    return true;
  }

  #readTrailer() {
    const line = this.#takeLine();
    if (line === undefined) return false;
    return line === '' ? this.#finish() : true;
  }

  #takeBody() {
    if (this.#left === 0 || this.#rest.length === 0) return;
    const part = this.#rest.subarray(0, this.#left);
    this.#body.push(part);
    this.#left -= part.length;
    this.#rest = this.#rest.subarray(part.length);
  }

  #takeLine() {
    const end = this.#rest.indexOf(LINE_END);
    if (end < 0) {
      this.#wait();
      return undefined;
    }
    const line = this.#rest.toString('latin1', 0, end);
    this.#rest = this.#rest.subarray(end + 2);
    return line;
  }

  #wait() {
    return this.#rest.length > HEAD_LIMIT ? this.#break() : false;
  }

  #finish() {
    this.isDone = true;
    return false;
  }

  #break() {
    this.isBroken = true;
    return false;
  }
}
