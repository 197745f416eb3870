/** Where a member lies in its bag; the bag's to write. */
export interface Member {
  place: number;
}

/**
 * Members that come and go with every request, in no order. Not a Set: V8 replaces the table of a busy one again and again, and the
 * replaced tables, which refer to the next, keep what was in them until the next full collection.
 */
export class Bag<T extends Member> {
  readonly #members: T[] = [];

  add(member: T): void {
    member.place = this.#members.length;
    this.#members.push(member);
  }

  /** Of a member, once. */
  remove(member: T): void {
    const last = this.#members.pop();
    if (last === undefined || last === member) return;
    last.place = member.place;
    this.#members[member.place] = last;
  }

  /** Those that are in it now. */
  list(): readonly T[] {
    return [...this.#members];
  }
}
