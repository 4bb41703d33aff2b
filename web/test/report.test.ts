import { execFileSync } from 'node:child_process'
import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { type Browser, chromium, type Page } from 'playwright-core'
import { afterAll, beforeAll, expect, test } from 'vitest'

import { dir, looks, rookery } from './world.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))
const report = join(dir, 'report.html')
const wrong: string[] = []
let browser: Browser
let page: Page

beforeAll(async () => {
  execFileSync(rookery, ['bench', 'report', 'bench/suite/testdata/run', '--out', report], { cwd: root })
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM || '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu'] })
  page = await browser.newPage()
  page.on('pageerror', (error) => wrong.push(`fault: ${error}`))
  page.on('console', (message) => void (message.type() === 'error' && wrong.push(`console: ${message.text()}`)))
  page.on('request', (request) => void (request.url().startsWith('file:') || wrong.push(`asked ${request.url()}`)))
  await page.goto(pathToFileURL(report).href)
})
afterAll(async () => {
  await browser?.close()
  rmSync(dir, { recursive: true, force: true })
})

test('the report of the bench has something in each section, in both colours and on a phone', async () => {
  const empty = await page.evaluate(() => [...document.querySelectorAll('h2')].filter((head) => {
    let each = head.nextElementSibling
    while (each && each.tagName !== 'H2' && !each.querySelector('svg, tr')) each = each.nextElementSibling
    return !each || each.tagName === 'H2'
  }).map((head) => head.textContent))
  expect(empty).toEqual([])
  expect(await page.locator('h2').count()).toBe(readFileSync(report, 'utf8').match(/<h2/g)!.length) // the page takes those away that have nothing
  const paper = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor)
  const papers = new Set<string>()
  const open = async () => {
    papers.add(await paper())
    await page.evaluate(() => document.querySelectorAll('details').forEach((each) => (each.open = true)))
    const cut = await page.evaluate(() => [...document.querySelectorAll('svg text')].filter((text) => {
      const [of, plot] = [text, text.closest('svg')!].map((each) => each.getBoundingClientRect()) as [DOMRect, DOMRect]
      return of.left < plot.left || of.right > plot.right || of.top < plot.top || of.bottom > plot.bottom
    }).map((text) => `${text.closest('svg')!.ariaLabel}: ${text.textContent}`))
    wrong.push(...cut.map((each) => `beside its plot: ${each}`))
  }
  expect(await looks(page, [['report', open]])).toEqual([])
  expect(papers.size).toBe(2)
  expect(wrong).toEqual([])
})

test('the report draws what the run has: lines over time, hollow points, figures that are cut', async () => {
  const over = page.locator('#time details').filter({ hasText: 'trickle@5000, round 2' })
  expect(await over.locator('figcaption').allTextContents()).toEqual(['messages a second', 'cores', 'resident memory'].map((each) => `trickle@5000: ${each}`))
  expect(await over.locator('.legend').first().locator('span').allTextContents()).toEqual(['accepted', 'stored', 'delivered'])
  const loads = page.locator('figure').filter({ hasText: 'trickle: throughput against load' })
  expect(await loads.locator('circle[fill="var(--card)"]').count()).toBe(2 * 3) // at 1,000 and at 20,000
  expect(await loads.locator('circle').count()).toBe(3 * 3)
  const cut = JSON.parse(readFileSync(join(root, 'bench/suite/testdata/digits.json'), 'utf8')) as Record<string, string>
  expect(await page.evaluate((all) => Object.fromEntries(all.map((v) => [v, (globalThis as unknown as { digits(v: number): string }).digits(+v)])), Object.keys(cut))).toEqual(cut)
})
