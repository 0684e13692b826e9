import { plain } from './table.ts'

/** One line of `doctor`. */
export interface Finding {
  level: 'ok' | 'warn' | 'fail'
  text: string
  /** What to do; only where all is well there is nothing. */
  advice?: string
}

export const ok = (text: string): Finding => ({ level: 'ok', text })
export const warn = (text: string, advice: string): Finding => ({ level: 'warn', text, advice })
export const fail = (text: string, advice: string): Finding => ({ level: 'fail', text, advice })

export const toLine = ({ level, text, advice }: Finding): string =>
  `${level.padEnd(4)}  ${plain(advice === undefined ? text : `${text} — ${advice}`)}\n`
