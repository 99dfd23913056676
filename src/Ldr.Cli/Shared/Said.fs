namespace Ldr.Cli

open System
open System.Text.Json.Nodes

/// The same, for people and for programs; JSON is written only where it is printed.
type Answer = { Text: string; Json: Lazy<string> }

/// What a verb has to say when it is done.
type Said =
    {
        /// For stdout; nothing when the work was stopped.
        Answer: Answer option
        /// Lines for stderr.
        Remarks: string list
        Code: int
    }

module Said =
    /// An answer whose JSON is a text.
    let answer (text: string) (json: Lazy<string>) : Said =
        {
            Answer = Some { Text = text; Json = json }
            Remarks = []
            Code = ExitCode.ok
        }

    let both (text: string) (json: JsonNode) : Said = answer text (lazy json.ToJsonString())

    /// Lines of text.
    let lines (lines: string list) (json: JsonNode) : Said = both (String.concat "\n" lines) json

    /// Nothing to say.
    let nothing (code: int) : Said =
        {
            Answer = None
            Remarks = []
            Code = code
        }

    /// The work was interrupted.
    let stopped (remark: string) : Said =
        {
            Answer = None
            Remarks = [ remark ]
            Code = ExitCode.interrupted
        }
