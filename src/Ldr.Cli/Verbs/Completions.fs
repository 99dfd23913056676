/// `completions SHELL`: a script that completes verbs and options in a shell.
module Ldr.Cli.Verbs.Completions

open System
open Argu
open FsToolkit.ErrorHandling
open Ldr.Cli

type ShellName =
    | Bash
    | Zsh
    | Fish
    | Powershell

type Arguments =
    | [<MainCommand; ExactlyOnce>] Shell of ShellName

    interface IArgParserTemplate with
        member this.Usage =
            match this with
            | Shell _ -> "the shell."

/// The text of --help beside the options.
let help: Help =
    {
        What = "Print a script that completes verbs and options in a shell."
        More = "Files are completed as ever."
        Groups = []
        Examples =
            [
                "ldr-fs completions bash > ~/.local/share/bash-completion/completions/ldr-fs"
                "ldr-fs completions fish > ~/.config/fish/completions/ldr-fs.fish"
            ]
    }

/// A verb, what it does, its options with what they do.
type Spelling =
    {
        Verb: string
        What: string
        Options: (string * string) list
    }

let private words (options: (string * string) list) =
    options |> List.map fst |> String.concat " "

let private bash (verbs: Spelling list) : string list =
    [
        "_ldr_fs() {"
        "    local word=\"${COMP_WORDS[COMP_CWORD]}\" known="
        "    COMPREPLY=()"
        "    if [ \"$COMP_CWORD\" = 1 ]; then"
        $"""        known="{verbs |> List.map _.Verb |> String.concat " "} --help --version" """.TrimEnd()
        "    elif [[ $word == -* ]]; then"
        "        case \"${COMP_WORDS[1]}\" in"
        for verb in verbs do
            $"            {verb.Verb}) known=\"{words verb.Options}\" ;;"
        "        esac"
        "    fi"
        "    if [ -n \"$known\" ]; then COMPREPLY=($(compgen -W \"$known\" -- \"$word\")); fi"
        "}"
        "complete -o default -F _ldr_fs ldr-fs ./ldr-fs"
    ]

/// The part of a description up to its first colon, full stop or bracket: a shell shows one line.
let private short (description: string) =
    let text = description.Replace("'", "").Replace("\n", " ")

    match text.IndexOfAny [| ';'; '('; ':'; '.' |] with
    | at when at > 0 -> text.Substring(0, at).Trim()
    | _ -> text

let private fish (verbs: Spelling list) : string list =
    [
        for verb in verbs do
            $"complete -c ldr-fs -n __fish_use_subcommand -a {verb.Verb} -d '{short verb.What}'"
        for verb in verbs do
            for option, description in verb.Options do
                $"complete -c ldr-fs -n '__fish_seen_subcommand_from {verb.Verb}' -l {option.TrimStart '-'} -d '{short description}'"
    ]

let private powershell (verbs: Spelling list) : string list =
    let quoted (texts: string list) =
        texts |> List.map (fun text -> $"'{text}'") |> String.concat ", "

    [
        "Register-ArgumentCompleter -Native -CommandName ldr-fs, ldr-fs.cmd, ldr-fs.exe -ScriptBlock {"
        "    param($word, $line, $cursor)"
        "    $options = @{"
        for verb in verbs do
            $"        '{verb.Verb}' = @({quoted (List.map fst verb.Options)})"
        "    }"
        "    $parts = @($line.CommandElements | ForEach-Object { $_.ToString() })"
        "    $isVerb = $parts.Count -lt 2 -or ($parts.Count -eq 2 -and $word)"
        "    $known = if ($isVerb) { $options.Keys | Sort-Object } elseif ($word -like '-*') { $options[$parts[1]] } else { @() }"
        "    $known | Where-Object { $_ -like \"$word*\" }"
        "}"
    ]

let private script (shell: ShellName) (verbs: Spelling list) : string =
    match shell with
    | Bash -> bash verbs
    | Zsh -> "autoload -U +X bashcompinit && bashcompinit" :: bash verbs
    | Fish -> fish verbs
    | Powershell -> powershell verbs
    |> String.concat "\n"

let parse (r: ParseResults<Arguments>) (verbs: Spelling list) : Result<Call, string> =
    result {
        let! shell =
            Usage.need "the shell (bash, zsh, fish, powershell)" (r.TryGetResult Shell)

        return!
            Call.create (CommonOptions.plain false false) (fun _ ->
                let text = script shell verbs
                Ok(Said.both text (Json.object [ "script", Json.text text ])))
    }
