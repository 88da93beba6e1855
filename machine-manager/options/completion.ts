/** Shell completion from the option table: option names, words of choices, and file names where a file belongs. */
import { isHere } from './option-types.ts'
import type { OptionSpec } from './option-types.ts'
import { OPTIONS } from './table.ts'
import type { ValueType } from './values.ts'

export const SHELLS = ['bash', 'zsh', 'fish'] as const
export type Shell = (typeof SHELLS)[number]

/** A sub-command with its one-line help and its own options, `--json` and the like. */
export interface CommandName { readonly name: string; readonly help: string; readonly options: readonly CommandOption[] }
export interface CommandOption { readonly flag: string; readonly help: string }

interface Completable {
  readonly names: readonly string[]
  readonly help: string
  readonly words: readonly string[]
  readonly files: boolean
  readonly takesValue: boolean
}

function completable(option: OptionSpec): Completable {
  const names = [option.name, ...(option.aliases ?? [])].filter((name) => name !== '?').map((name) => `-${name}`)
  const { form } = option
  const plain = form.kind === 'plain' ? form.type : undefined
  return { names, help: option.help.split('. ')[0] ?? '', words: wordsOf(option), files: plain?.kind === 'path', takesValue: form.kind !== 'flag' }
}

function wordsOf({ form }: OptionSpec): string[] {
  switch (form.kind) {
    case 'plain': return choiceNames(form.type)
    case 'keys': {
      const first = form.sub.find((sub) => sub.key === form.implied)
      return first === undefined ? form.sub.filter((sub) => sub.status === undefined).map((sub) => `${sub.key}=`) : choiceNames(first.type)
    }
    case 'variants': return form.variants.filter((variant) => variant.status?.state !== 'later').map((variant) => variant.name)
    case 'character-device': return ['stdio', 'pty', 'null', 'none', 'unix:', 'tcp:', 'file:', 'chardev:']
    default: return []
  }
}

function choiceNames(type: ValueType): string[] {
  if (type.kind !== 'choice' && type.kind !== 'preference') return []
  return type.choices.filter((choice) => choice.status?.state !== 'later').map((choice) => choice.name)
}

/** The script a shell sources. Options of later work are left out. */
export function completionScript(shell: Shell, commands: readonly CommandName[]): string {
  const options = OPTIONS.filter(isHere).map(completable)
  switch (shell) {
    case 'bash': return bashScript(options, commands)
    case 'zsh': return zshScript(options, commands)
    case 'fish': return fishScript(options, commands)
  }
}

function bashScript(options: readonly Completable[], commands: readonly CommandName[]): string {
  const cases = options.filter((option) => option.words.length > 0 || option.files).map((option) => {
    const reply = option.files ? 'COMPREPLY=($(compgen -f -- "$cur"))' : `COMPREPLY=($(compgen -W "${option.words.join(' ')}" -- "$cur"))`
    return `    ${option.names.join('|')}) ${reply}; return ;;`
  })
  const ofCommands = commands.filter(({ options: own }) => own.length > 0)
    .map(({ name, options: own }) => `      ${name}) COMPREPLY=($(compgen -W "${own.map(({ flag }) => flag).join(' ')}" -- "$cur")) ;;`)
  return `# bash completion of mesovirt: source <(mesovirt completion bash)
_mesovirt() {
  local cur="\${COMP_WORDS[COMP_CWORD]}" prev="\${COMP_WORDS[COMP_CWORD-1]}"
  COMPREPLY=()
  if [[ $COMP_CWORD -gt 1 && $cur == -* && \${COMP_WORDS[1]} != -* ]]; then
    case "\${COMP_WORDS[1]}" in
${ofCommands.join('\n')}
    esac
    return
  fi
  case "$prev" in
${cases.join('\n')}
  esac
  if [[ $COMP_CWORD -eq 1 && $cur != -* ]]; then
    COMPREPLY=($(compgen -W "${commands.map((command) => command.name).join(' ')}" -- "$cur"))
  elif [[ $cur == -* ]]; then
    COMPREPLY=($(compgen -W "${options.flatMap((option) => option.names).join(' ')}" -- "$cur"))
  else
    COMPREPLY=($(compgen -f -- "$cur"))
  fi
}
complete -o filenames -F _mesovirt mesovirt
`
}

function zshScript(options: readonly Completable[], commands: readonly CommandName[]): string {
  const specs = options.flatMap((option) => option.names.map((name) => {
    const words = option.words.map((word) => word.replaceAll(':', '\\:')).join(' ')
    const action = option.files ? ':file:_files' : words !== '' ? `:value:(${words})` : option.takesValue ? ':value: ' : ''
    return `    ${single(`*${name}[${option.help.replace(/[[\]\\:]/g, '\\$&')}]${action}`)} \\`
  }))
  const ofCommands = commands.map(({ name, options: own }) =>
    `    ${name}) _arguments ':command:' ${own.map(({ flag, help }) => single(`${flag}[${help.replace(/[[\]\\:]/g, '\\$&')}]`)).concat("'*:file:_files'").join(' ')}; return ;;`)
  return `#compdef mesovirt
# zsh completion of mesovirt: mesovirt completion zsh > "\${fpath[1]}/_mesovirt"
_mesovirt() {
  local -a commands
  commands=(${commands.map((command) => single(`${command.name}:${command.help}`)).join(' ')})
  if (( CURRENT == 2 )) && [[ $words[2] != -* ]]; then
    _describe command commands
    return
  fi
  case $words[2] in
${ofCommands.join('\n')}
  esac
  _arguments \\
${specs.join('\n')}
    '*:file:_files'
}
compdef _mesovirt mesovirt
`
}

function fishScript(options: readonly Completable[], commands: readonly CommandName[]): string {
  const lines = options.flatMap((option) => option.names.map((name) => {
    const words = option.words.length > 0 ? ` -x -a ${single(option.words.join(' '), 'fish')}` : ''
    const value = option.files ? ' -r -F' : words !== '' ? words : option.takesValue ? ' -r' : ''
    return `complete -c mesovirt -o ${name.slice(1)}${value} -d ${single(option.help, 'fish')}`
  }))
  const words = commands.map((command) => `complete -c mesovirt -n __fish_use_subcommand -a ${command.name} -d ${single(command.help, 'fish')}`)
  const ofCommands = commands.flatMap(({ name, options: own }) => own.map(({ flag, help }) =>
    `complete -c mesovirt -n '__fish_seen_subcommand_from ${name}' -l ${flag.replace(/^--/, '')} -d ${single(help, 'fish')}`))
  return `# fish completion of mesovirt: mesovirt completion fish > ~/.config/fish/completions/mesovirt.fish\n${[...words, ...ofCommands, ...lines].join('\n')}\n`
}

/** Text in single quotes. fish has a backslash inside them, other shells leave the quotes for a moment. */
function single(text: string, shell: Shell = 'zsh'): string {
  return shell === 'fish' ? `'${text.replace(/[\\']/g, '\\$&')}'` : `'${text.replaceAll("'", "'\\''")}'`
}
