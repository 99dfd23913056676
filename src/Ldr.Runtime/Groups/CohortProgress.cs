using Ldr.Runtime.Registration.Quality;

namespace Ldr.Runtime.Groups;

/// <summary>What became of a pair.</summary>
public enum PairState
{
    /// <summary>It was registered now.</summary>
    Done,

    /// <summary>It was done already, with the same inputs and options.</summary>
    Skipped,

    /// <summary>A file of it could not be used, or written.</summary>
    Unusable,
}

/// <summary>How a pair ended.</summary>
/// <param name="Id">The pair.</param>
/// <param name="State">What became of it.</param>
/// <param name="Verdict">Of its registration; null where there is none.</param>
/// <param name="Problem">Why it could not be registered, in a line; empty where it was.</param>
public sealed record PairOutcome(string Id, PairState State, Verdict? Verdict, string Problem = "");

/// <summary>How far a cohort has come.</summary>
/// <param name="Pairs">How many pairs this process has to look after.</param>
/// <param name="Finished">How many of them have ended.</param>
/// <param name="Done">How many of these were registered now.</param>
/// <param name="Last">The one that has just ended.</param>
/// <param name="Elapsed">Time since the start.</param>
public sealed record CohortProgress(int Pairs, int Finished, int Done, PairOutcome Last, TimeSpan Elapsed)
{
    /// <summary>Pairs registered in a minute.</summary>
    public double PairsPerMinute => Elapsed > TimeSpan.Zero ? Done / Elapsed.TotalMinutes : 0;

    /// <summary>Time that the rest will take, about; null as long as nothing was registered.</summary>
    public TimeSpan? Left => Done > 0 ? Elapsed / Done * (Pairs - Finished) : null;
}

/// <summary>How a cohort ended.</summary>
/// <param name="Pairs">How many pairs this process looked after.</param>
/// <param name="Done">Registered now.</param>
/// <param name="Skipped">Done already.</param>
/// <param name="Failed">Pairs, also of those skipped, whose verdict is <see cref="Verdict.Failed"/>.</param>
/// <param name="Unusable">Pairs whose files could not be used, in the order in which they ended.</param>
/// <param name="Elapsed">What it took.</param>
public sealed record CohortSummary(
    int Pairs, int Done, int Skipped, IReadOnlyList<string> Failed, IReadOnlyList<PairOutcome> Unusable, TimeSpan Elapsed);
