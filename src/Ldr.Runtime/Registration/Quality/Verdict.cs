namespace Ldr.Runtime.Registration.Quality;

/// <summary>What a quality check says of a registration.</summary>
public enum Verdict
{
    /// <summary>Nothing speaks against it.</summary>
    Ok,

    /// <summary>A person should look at it before it is used.</summary>
    Look,

    /// <summary>It is not usable.</summary>
    Failed,
}

/// <summary>The words of verdicts in JSON, tables and pages.</summary>
public static class VerdictWords
{
    /// <summary><c>ok</c>, <c>look</c> or <c>failed</c>.</summary>
    /// <param name="verdict">The verdict.</param>
    public static string Word(this Verdict verdict) => verdict.ToString().ToLowerInvariant();
}
