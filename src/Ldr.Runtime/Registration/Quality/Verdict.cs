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
