namespace Ldr

open System

/// What to say of a word that is not known.
module Suggestion =
    /// The edit distance of two words (Levenshtein).
    let private distance (a: string) (b: string) =
        let mutable previous = [| 0 .. b.Length |]

        for i in 1 .. a.Length do
            let current = Array.zeroCreate (b.Length + 1)
            current[0] <- i

            for j in 1 .. b.Length do
                let change = if a[i - 1] = b[j - 1] then 0 else 1
                current[j] <- min (min (current[j - 1] + 1) (previous[j] + 1)) (previous[j - 1] + change)

            previous <- current

        previous[b.Length]

    /// The known words within some changes of a word, the nearest first.
    let private within (most: string -> int) (known: string list) (word: string) : string list =
        let folded = word.ToLowerInvariant()

        // A key of a hostile file may be a megabyte long.
        (if word.Length > 100 then [] else known)
        |> List.map (fun k -> distance folded (k.ToLowerInvariant()), k)
        |> List.filter (fun (d, k) -> d <= most k)
        |> List.sortBy fst
        |> List.map snd

    /// The known word of which a word is a slip of the pen: one letter in six is another, and no number (`Task03` and `Task04` are
    /// both right).
    let slip (known: string list) (word: string) : string option =
        let numbers = String.filter Char.IsDigit

        within (fun k -> max 1 (k.Length / 6)) known word
        |> List.tryFind (fun k -> numbers k = numbers word)

    /// The known word that somebody probably meant: `did you mean "x"?`, or the list of all.
    let among (known: string list) (word: string) =
        let folded = word.ToLowerInvariant()
        let near = within (fun k -> max 2 (k.Length / 3)) known word

        /// A word that was not written to its end: `--output` for `--output-prefix`.
        let longer =
            if folded.Length < 4 then
                []
            else
                known
                |> List.filter (fun k -> k.ToLowerInvariant().StartsWith(folded, StringComparison.Ordinal))

        match near @ longer with
        | best :: _ -> $"did you mean \"{best}\"?"
        | [] ->
            let list = known |> List.map (sprintf "\"%s\"") |> String.concat ", "
            $"known: {list}"
