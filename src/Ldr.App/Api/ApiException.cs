namespace Ldr.App.Api;

/// <summary>A request that is refused: its status, and a line that says why.</summary>
internal sealed class ApiException(int status, string line) : Exception(line)
{
    public int Status => status;

    public static ApiException NotFound(string line) => new(404, line);

    public static ApiException Bad(string line) => new(400, line);

    public static ApiException Conflict(string line) => new(409, line);

    public static ApiException TooLarge(string line) => new(413, line);

    public static ApiException Unreadable(string line) => new(422, line);

    public static ApiException Busy(string line) => new(429, line);
}
