// SPDX-License-Identifier: MIT
// What reports/page/data.py packs. All of the scripts are one scope (reports/page/document.py has their order).
/**
 * @typedef {{
 *   name: string, kernel: string, platform: string, machine: string, release: string, bad: number, passed: number,
 *   outcomes: string, why: number[], again: string, runs: number, test: number[], outcome: string, took: number[],
 *   acts: number[], more: Record<number, number[]>, past: Record<number, [string, number, number]>
 * }} Column An environment. ``outcomes`` has a letter for each row; the other arrays one value for each result.
 * @typedef {[string, string, string, string, string, string, [string, string, string][], [string, string][],
 *   Record<string, string>]} Row anchor, id, title, kind, promise, statement, places, sources, facts
 * @typedef {{
 *   looks: [string, string, string, string, string][], areas: [string, string, number][], rows: Row[],
 *   releases: string[], columns: Column[], changed: Record<string, string>, tests: [string, number[]][], texts: string[]
 * }} Core
 * @typedef {{ test: string, letter: string, took: number, acts: string, line: string, reason: string, known: string,
 *   again: string, long: number[], past: [string, number, number] | undefined, changed: string }} Result
 * @typedef {{ line: HTMLTableRowElement, head: Element, cells: HTMLTableCellElement[], area: number, row: number }} Line
 * A row of the table; ``row`` is -1 for that of an area.
 * @typedef {{ open: string, q: string, group: string, sort: string, hide: string[], pair: string[], diff: boolean }} State
 * @typedef {(row: number, columns: number[]) => boolean} Test
 */
