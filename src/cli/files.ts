import { isUtf8 } from 'node:buffer'
import { readFileSync } from 'node:fs'
import { codeOf, failure } from './io.ts'
import { plain } from './table.ts'

/** @throws Problem `command_failed` */
export function readText(file: string, flag: string): string {
  const bytes = readBytes(file, flag)
  // Bytes that are no text would be sent, or looked at, as others than they are.
  if (!isUtf8(bytes)) throw failure(`error: ${plain(file)}, the file of ${flag}, is not UTF-8 text`)
  return bytes.toString('utf8')
}

function readBytes(file: string, flag: string): Buffer {
  try {
    return readFileSync(file)
  } catch (error) {
    throw failure(`error: ${plain(file)}, the file of ${flag}, cannot be read (${codeOf(error)})`)
  }
}
